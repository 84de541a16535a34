# The tables of the database, as Neutron's own tests make them: its migrations take half a minute longer.
import sys
import sqlalchemy
from neutron.db.migration.models import head  # noqa: F401
from neutron_lib.db import model_base
model_base.BASEV2.metadata.create_all(sqlalchemy.create_engine(sys.argv[1]))
