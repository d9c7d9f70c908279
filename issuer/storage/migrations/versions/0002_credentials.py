"""Credentials of every kind in the table of secrets, and what may be used once."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.drop_index("ix_client_secrets_client_pk", "client_secrets")
    op.rename_table("client_secrets", "client_credentials")
    # Said the same way on both engines; Alembic would copy the table on SQLite.
    op.execute("ALTER TABLE client_credentials RENAME COLUMN secret_id TO credential_id")
    op.execute("ALTER TABLE client_credentials RENAME COLUMN digest TO material")
    op.create_index("ix_client_credentials_client_pk", "client_credentials", ["client_pk"], unique=False)
    op.create_table(
        "used_once",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("ix_used_once_expires_at", "used_once", ["expires_at"], unique=False)
