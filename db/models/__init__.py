"""Tables of the database, one file a subject, each change with a migration that a test compares with it.

May import: nothing else of the room.
"""

from db.models.accounts import Account, LoginSession, Role
from db.models.audit import AuditedClaim, AuditSample, ClaimKind, ClaimVerdict, Verdict
from db.models.columns import UtcDateTime, is_declared, now
from db.models.concepts import ConceptLabel, ConceptSet, LeakCheck, LeakSuspect, Likeness
from db.models.data_sets import Dataset, Image, RefusedFile, Review
from db.models.ground import GroundQuery
from db.models.jobs import Job, JobRequest, JobState, JobWait
from db.models.label_studio import TASK_DELETED, ConflictChoice, LabelConflict, LabelLeftover, LabelTask
from db.models.regions import EditKind, ImportRecord, RegionEdit, RegionRow, RegionTally, Status
from db.models.review import ActKind, RegionTag, ReviewAct, SavedFilter
from db.models.runs import AnnotationRun, Description, ImageLease, RunState, RunTally, Stage, StageResult, StageState
from db.models.versions import DatasetVersion

__all__ = [
    "TASK_DELETED",
    "Account",
    "ActKind",
    "AnnotationRun",
    "AuditSample",
    "AuditedClaim",
    "ClaimKind",
    "ClaimVerdict",
    "ConceptLabel",
    "ConceptSet",
    "ConflictChoice",
    "Dataset",
    "DatasetVersion",
    "Description",
    "EditKind",
    "GroundQuery",
    "Image",
    "ImageLease",
    "ImportRecord",
    "Job",
    "JobRequest",
    "JobState",
    "JobWait",
    "LabelConflict",
    "LabelLeftover",
    "LabelTask",
    "LeakCheck",
    "LeakSuspect",
    "Likeness",
    "LoginSession",
    "RefusedFile",
    "RegionEdit",
    "RegionRow",
    "RegionTag",
    "RegionTally",
    "Review",
    "ReviewAct",
    "Role",
    "RunState",
    "RunTally",
    "SavedFilter",
    "Stage",
    "StageResult",
    "StageState",
    "Status",
    "UtcDateTime",
    "Verdict",
    "is_declared",
    "now",
]
