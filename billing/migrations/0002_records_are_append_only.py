"""The database itself refuses to edit a usage record. Deleting is left to retention."""

import datetime

from django.db import migrations

from billing.partitions import ensure_partitions

SQLITE = """
CREATE TRIGGER usage_records_are_append_only BEFORE UPDATE ON billing_usagerecord
BEGIN SELECT RAISE(ABORT, 'usage records are written once and never edited'); END
"""
POSTGRES = """
CREATE FUNCTION refuse_usage_record_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'usage records are written once and never edited'; END $$;
CREATE TRIGGER usage_records_are_append_only BEFORE UPDATE ON billing_usagerecord
FOR EACH ROW EXECUTE FUNCTION refuse_usage_record_update();
"""


def guard(apps, schema_editor):
    schema_editor.execute(
        POSTGRES if schema_editor.connection.vendor == "postgresql" else SQLITE
    )
    ensure_partitions(datetime.datetime.now(tz=datetime.UTC).date())


def lift(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION refuse_usage_record_update() CASCADE")
    else:
        schema_editor.execute("DROP TRIGGER usage_records_are_append_only")


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial")]
    operations = [migrations.RunPython(guard, lift)]
