"""Export data sets to other formats and import annotations from them.

May import: curation.audit, curation.files, curation.label_studio, curation.versions.
"""
