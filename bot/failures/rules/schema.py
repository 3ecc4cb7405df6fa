# ruff: noqa: E501 (patterns and log lines are quoted whole, with the signs that tools print)
"""Evidence of migrations and database schemas that do not fit."""

from functools import partial

from bot.domain.values import FailureType
from bot.failures.taxonomy import rule

row = partial(rule, FailureType.SCHEMA_MIGRATION)

RULES = (
    row(
        "alembic-failed",
        "alembic",
        0.93,
        r"^ *FAILED: ",
        "FAILED: Database is not on all head revisions",
        "  FAILED: Multiple heads are present; please specify the head revision",
        but_not=("FAILED tests/a.py::t - x",),
    ),
    row(
        "alembic",
        "alembic",
        0.97,
        r"Can't locate revision identified by|Multiple head(s| revisions) are present|Target database is not up to date|New upgrade operations detected|is not on all head revisions|alembic\.util\.exc\.CommandError|is not a head revision|overlaps with other requested",
        "alembic.util.exc.CommandError: Can't locate revision identified by 'ae10'",
    ),
    row(
        "django",
        "django",
        0.97,
        r"django\.db\.migrations\.exceptions\.|Conflicting migrations detected|InconsistentMigrationHistory|NodeNotFoundError: Migration|have changes that are not yet reflected in a migration|(?i)you have \d+ unapplied migration",
        "CommandError: Conflicting migrations detected; multiple leaf nodes in the migration graph",
    ),
    row("django-missing", "django", 0.9, r"^Migrations for '\w+':", "Migrations for 'shop':"),
    row(
        "flyway",
        "flyway",
        0.97,
        r"Validate failed: Migrations|Flyway\w*Exception|Migration checksum mismatch|Detected (failed|resolved) migration|Migration of schema .* failed|Schema .* contains a failed migration|Script V\S+\.sql failed|FlywaySqlScript",
        "ERROR: Validate failed: Migrations have failed validation",
    ),
    row(
        "liquibase",
        "liquibase",
        0.97,
        r"liquibase\.exception\.(Migration|Validation|ChangeLog|Setup|Lock|Command|Liquibase|Database|RollbackImpossible)|Migration failed for change ?set|Could not acquire change log lock|change sets? (check sum|had|failed)",
        "liquibase.exception.MigrationFailedException: Migration failed for changeset a.xml::1::me",
    ),
    row(
        "prisma",
        "prisma",
        0.97,
        r"^ *(Error: )?P3\d{3}\b|Drift detected|migrate found failed migrations|migrations? (have|has) not yet been applied|failed to apply cleanly",
        "Error: P3018",
        "Error: P3009",
    ),
    row(
        "rails",
        "rails",
        0.97,
        r"ActiveRecord::(PendingMigration|Irreversible|Duplicate\w*Migration|IllegalMigrationName|NoDatabase\w*Migr|UnknownMigration)|Migrations are pending|all later migrations canceled",
        "ActiveRecord::PendingMigrationError:",
        "StandardError: An error has occurred, this and all later migrations canceled:",
    ),
    row(
        "knex",
        "knex",
        0.97,
        r"migration file \S+ failed|The migration directory is corrupt|migration failed with error",
        'migration file "2020_x.js" failed',
    ),
    row(
        "typeorm",
        "typeorm",
        0.94,
        r'Migration "\S+" failed|(?i)error during migration (run|generation|revert)',
        'Migration "AddUser1700" failed, error: relation "users" already exists',
    ),
    row(
        "sequelize",
        "sequelize",
        0.93,
        r"^ERROR: .*\bmigration\b",
        "ERROR: Cannot apply migration 20200101",
    ),
    row(
        "go-migrate",
        "migrate",
        0.97,
        r"Dirty database version \d+|goose (run|up|down): |no migration found for version|error: migration failed|failed to (run|apply|execute) (database )?migrations?",
        "error: Dirty database version 12. Fix and force version.",
    ),
    row(
        "sqlx",
        "sqlx",
        0.96,
        r"migration \d+ was previously applied but|^error: while executing migrations?",
        "error: migration 20230101 was previously applied but has been modified",
    ),
    row(
        "ecto",
        "ecto",
        0.95,
        r"\(Ecto\.MigrationError\)|\(Postgrex\.Error\).*(undefined|duplicate)_(table|column)",
        "** (Ecto.MigrationError) migrations can't be executed, migration name a is duplicated",
    ),
    row(
        "doctrine",
        "doctrine",
        0.96,
        r"schema is not in sync with the|Migration \S+ failed during|Doctrine\\Migrations\\",
        "[ERROR] The database schema is not in sync with the current mapping file.",
    ),
    row(
        "efcore",
        "ef core",
        0.96,
        r"PendingModelChangesWarning|has pending changes\. Add a new migration|Microsoft\.EntityFrameworkCore\.Migrations",
        "The model for context 'Db' has pending changes. Add a new migration before updating the database.",
    ),
    row(
        "squawk",
        "squawk",
        0.95,
        r"squawkhq\.com|(warning|error).*\b(prefer-robust-stmts|adding-required-field|prefer-bigint-over-int|require-concurrent-index|ban-drop-column|changing-column-type|disallowed-unique-constraint)\b|Find detailed examples and solutions for each rule at https://squawk",
        "warning[prefer-robust-stmts]: Missing `IF NOT EXISTS`",
    ),
    row(
        "missing-relation",
        "sql",
        0.82,
        r'(relation|table|column|type) "?[\w.]+"? (of relation "?\w+"? )?(does not|doesn\'t) exist|no such (table|column): |Unknown column \'|Table \'[\w.]+\' doesn\'t exist|(UndefinedTable|UndefinedColumn|DuplicateTable|DuplicateColumn)\b',
        'ERROR:  relation "users" does not exist',
        "sqlite3.OperationalError: no such table: users",
    ),
    row(
        "duplicate-relation",
        "sql",
        0.82,
        r"(relation|table|column|index|constraint|type) [\"'`]?[\w.]+[\"'`]? (of relation \"\w+\" )?already exists|Duplicate column name",
        'ERROR:  relation "users" already exists',
    ),
    row(
        "schema-words",
        "",
        0.85,
        r"(?i)\b((database )?migrations? (has |have )?failed|failed to (run |apply |execute )?migrat|(database )?schema (version )?(mismatch|is out of date|drift)|pending migrations?)\b",
        "Error: database migration failed",
    ),
    row(
        "migration-frames",
        "alembic",
        0.85,
        r'^ *File ".*[/\\]alembic[/\\](script|runtime|operations|autogenerate)[/\\]',
        '  File "/v/lib/python3.11/site-packages/alembic/script/revision.py", line 240, in _revision_map',
    ),
    row(
        "django-frames",
        "django",
        0.85,
        r'^ *File ".*[/\\]django[/\\]db[/\\]migrations[/\\]',
        '  File "/v/site-packages/django/db/migrations/executor.py", line 135, in migrate',
    ),
    row(
        "alembic-absent",
        "alembic",
        0.95,
        r"UserWarning: Revision \S+ referenced from .* is not present",
        "revision.py:236: UserWarning: Revision zz referenced from zz -> b1 (head),  is not present",
    ),
)
