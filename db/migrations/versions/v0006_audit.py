"""The audit: claims with their evidence, what people say of them, the sample they are shown; a stage of that name."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TWO, THREE = "stage IN ('describe', 'localize')", "stage IN ('describe', 'localize', 'audit')"
VERDICTS = "('supported', 'unsupported', 'cannot tell')"


def upgrade() -> None:
    _allow(TWO, THREE)
    op.create_table(
        "audited_claim",
        sa.Column("id", BIG, nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("image_id", BIG, nullable=False),
        sa.Column("stage_result_id", BIG, nullable=False),
        sa.Column("description_id", BIG, nullable=False),
        sa.Column("recipe", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("span_start", sa.Integer(), nullable=False),
        sa.Column("span_end", sa.Integer(), nullable=False),
        sa.Column("words", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("probability", sa.Float(), nullable=True),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("settled", sa.String(), nullable=True),
        sa.Column("describer", sa.String(), nullable=False),
        sa.Column("prompts", sa.String(), nullable=False),
        sa.Column("stages", sa.Integer(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('object', 'attribute', 'part', 'count', 'relation', 'text')", name="kind_is_known"
        ),
        sa.CheckConstraint(f"verdict IN {VERDICTS}", name="verdict_is_known"),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"]),
        sa.ForeignKeyConstraint(["stage_result_id"], ["stage_result.id"]),
        sa.ForeignKeyConstraint(["description_id"], ["description.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("stage_result_id", "description_id", "position"),
    )
    op.create_index("ix_audited_claim_worst", "audited_claim", ["dataset_id", "recipe", "probability", "id"])
    op.create_index("ix_audited_claim_group", "audited_claim", ["dataset_id", "recipe", "kind", "verdict"])
    op.create_index("ix_audited_claim_image", "audited_claim", ["image_id"])
    op.create_index("ix_audited_claim_description", "audited_claim", ["description_id"])
    op.create_table(
        "claim_verdict",
        sa.Column("id", BIG, nullable=False),
        sa.Column("claim_id", BIG, nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(f"verdict IN {VERDICTS}", name="verdict_is_known"),
        sa.ForeignKeyConstraint(["claim_id"], ["audited_claim.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("claim_id", "who"),
    )
    op.create_table(
        "audit_sample",
        sa.Column("claim_id", BIG, nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("recipe", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("stratum", sa.String(), nullable=False),
        sa.Column("population", sa.Integer(), nullable=False),
        sa.Column("doubled", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["claim_id"], ["audited_claim.id"]),
        sa.ForeignKeyConstraint(["dataset_id"], ["dataset.id"]),
        sa.PrimaryKeyConstraint("claim_id"),
    )
    op.create_index("ix_audit_sample_page", "audit_sample", ["dataset_id", "recipe", "position"])


def downgrade() -> None:
    for table in ("audit_sample", "claim_verdict", "audited_claim"):
        op.drop_table(table)
    op.execute("DELETE FROM stage_result WHERE stage = 'audit'")
    _allow(THREE, TWO)


def _allow(before: str, after: str) -> None:
    """Another CHECK on a stage's name; no row is touched, however many there are."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("stage_is_known", "stage_result")
        op.create_check_constraint("stage_is_known", "stage_result", after)
        return
    # SQLite's own way for what changes no content (its page on ALTER TABLE); a copy would take other tables' rows along
    bind = op.get_bind()
    version = bind.exec_driver_sql("PRAGMA schema_version").scalar_one()
    bind.exec_driver_sql("PRAGMA writable_schema = ON")
    changed = bind.exec_driver_sql(
        "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE type = 'table' AND name = 'stage_result'",
        (before, after),
    )
    assert changed.rowcount == 1, "the table whose rule was to change"
    bind.exec_driver_sql(f"PRAGMA schema_version = {version + 1}")
    bind.exec_driver_sql("PRAGMA writable_schema = OFF")
