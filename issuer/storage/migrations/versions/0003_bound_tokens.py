"""What tokens have to be bound to."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for table, name in (("realms", "dpop_nonce"), ("clients", "dpop"), ("clients", "bound_certificate")):
        op.add_column(table, sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
