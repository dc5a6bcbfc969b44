/*
 * view_create.c
 *	  CREATE MATERIALIZED VIEW .. WITH (tidemark.continuous).
 *
 * Order: understand the query (or refuse it), make q_<n>, s_<n> and, for closed
 * windows and late rows, f_<n> and l_<n> as the extension's owner and give them
 * to the user, make the visible view as the user, note all in
 * tidemark_state.view, let the engine take the history in.
 * One transaction; any error undoes everything.
 *
 * Runs in: backends, from the utility hook.
 * Locks: what the engine's populate() takes.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_tablespace.h"
#include "commands/defrem.h"
#include "commands/tablecmds.h"
#include "commands/tablespace.h"
#include "commands/view.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/settings.h"
#include "stream/stream.h"
#include "view/view_internal.h"

static const ViewEngine *engine = NULL;

void
tm_view_set_engine(const ViewEngine *new_engine)
{
	engine = new_engine;
}

const ViewEngine *
tm_view_get_engine(void)
{
	return engine;
}

/* ---- options ---- */

/* tidemark.* options of a statement. */
typedef struct CreateOptions
{
	bool		continuous;
	List	   *texts;			/* "name=value" for the catalog */
	ContinuousOptions view;
} CreateOptions;

bool
tm_view_is_tidemark_option(const DefElem *def)
{
	return def->defnamespace != NULL && strcmp(def->defnamespace, "tidemark") == 0;
}

static void
parse_options(List *options, CreateOptions *result)
{
	ListCell   *lc;

	memset(result, 0, sizeof(*result));
	foreach(lc, options)
	{
		DefElem    *def = lfirst(lc);

		if (!tm_view_is_tidemark_option(def))
			continue;
		if (strcmp(def->defname, "continuous") == 0)
			result->continuous = defGetBoolean(def);
		else if (tm_view_is_option(def->defname))
			result->texts = lappend(result->texts, tm_view_option_text(def));
		else
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unrecognized option \"tidemark.%s\"", def->defname),
					 errhint("Options of a continuous view are tidemark.continuous, start_at, allowed_lateness, late, emit, retention and notify.")));
	}
	tm_view_read_options(result->texts, &result->view);
	if (result->view.start_at != NULL)
		tm_stream_check_start(result->view.start_at);
}

/* Everything of the statement that a continuous view does not take. */
static void
check_statement(const IntoClause *into, const CreateOptions *options)
{
	ListCell   *lc;

	if (!options->continuous)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options of tidemark need tidemark.continuous"),
				 errhint("Write WITH (tidemark.continuous, ...).")));
	foreach(lc, into->options)
	{
		DefElem    *def = lfirst(lc);

		if (!tm_view_is_tidemark_option(def))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("storage parameter \"%s\" is not supported for a continuous view",
							def->defname),
					 errhint("Omit it.")));
	}
	if (into->rel->relpersistence != RELPERSISTENCE_PERMANENT ||
		isAnyTempNamespace(RangeVarGetCreationNamespace(into->rel)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a continuous view cannot be unlogged or temporary"),
				 errdetail("Its rows and the offsets they stand for must survive a crash together."),
				 errhint("Omit UNLOGGED and schema pg_temp.")));
	if (into->accessMethod != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("USING is not supported for a continuous view"),
				 errhint("Its rows are kept in the table access method heap; omit the clause.")));
}

/* ---- objects ---- */

static char *
deparse(Query *query)
{
	return pg_get_querydef(query, false);
}

static char *
column_list(List *names)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, names)
		appendStringInfo(&buf, "%s%s", buf.len ? ", " : " (",
						 quote_identifier(strVal(lfirst(lc))));
	if (buf.len)
		appendStringInfoChar(&buf, ')');
	return buf.data;
}

static char *
tablespace_clause(const char *name, const char *keyword)
{
	if (name == NULL)
		return "";
	if (tm_object_aclcheck_tablespace(get_tablespace_oid(name, false), GetUserId()) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLESPACE, name);
	return psprintf(" %s %s", keyword, quote_identifier(name));
}

/* f_<n>, with an index per column of the window. */
static void
create_final(const ViewSpec *spec, const IntoClause *into, int number, const char *space)
{
	char	   *name = psprintf("f_%d", number);
	ListCell   *lc;

	tm_meta_execute(psprintf("CREATE TABLE tidemark_state.%s (%s)%s", name,
							 tm_view_final_definition(spec, into->colNames), space));
	foreach(lc, tm_view_final_indexed(spec, get_relname_relid(name, tm_meta_state_schema())))
		tm_meta_execute(psprintf("CREATE INDEX ON tidemark_state.%s (%s)%s", name,
								 quote_identifier(lfirst(lc)), space));
}

/* l_<n>, for late rows; as the extension's owner. */
void
tm_view_create_late_table(const ViewSpec *spec, int number, const char *space, const char *owner)
{
	char	   *time = format_type_be(exprType((Node *) spec->window.ts));

	tm_meta_execute(psprintf("CREATE TABLE tidemark_state.l_%d (window_start %s, window_end %s, "
							 "partition integer NOT NULL, kafka_offset bigint NOT NULL, "
							 "event_time timestamptz, watermark timestamptz, \"row\" jsonb NOT NULL, "
							 "recorded_at timestamptz NOT NULL)%s", number, time, time, space));
	tm_meta_execute(psprintf("CREATE INDEX ON tidemark_state.l_%d (partition, kafka_offset)%s", number,
							 space));
	/* for publications FOR ALL TABLES */
	tm_meta_execute(psprintf("ALTER TABLE tidemark_state.l_%d REPLICA IDENTITY FULL", number));
	tm_meta_execute(psprintf("ALTER TABLE tidemark_state.l_%d OWNER TO %s", number,
							 quote_identifier(owner)));
}

/*
 * q_<n>, as the extension's owner; from the tree of the query, as CREATE VIEW
 * does once it has one.  (Rejected: CREATE VIEW with its text.  To parse a
 * constant is to call its type's input function, and that of an array or row may
 * run the CHECK of a user's domain: his code, as the extension's owner.)
 */
static void
create_query_view(Query *query, const List *names, int number)
{
	Query	   *stored = copyObject(query);
	CreateStmt *create = makeNode(CreateStmt);
	const ListCell *name = list_head(names);
	ObjectAddress view;
	ListCell   *lc;

	create->relation = makeRangeVar("tidemark_state", psprintf("q_%d", number), -1);
	create->oncommit = ONCOMMIT_NOOP;
	foreach(lc, stored->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);
		Node	   *expr = (Node *) entry->expr;

		if (entry->resjunk)
			continue;
		if (name != NULL)
		{
			entry->resname = pstrdup(strVal(lfirst(name)));
			name = lnext(names, name);
		}
		create->tableElts = lappend(create->tableElts,
									makeColumnDef(entry->resname, exprType(expr),
												  exprTypmod(expr), exprCollation(expr)));
	}
	if (name != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("too many column names were specified")));
	view = DefineRelation(create, RELKIND_VIEW, InvalidOid, NULL, NULL);
	CommandCounterIncrement();
	StoreViewQuery(view.objectId, stored, false);
	CommandCounterIncrement();
}

/*
 * q_<n>, of the user's query, s_<n>, f_<n> and l_<n>, made by the extension's
 * owner, given to the user.
 */
static void
create_internals(const ViewSpec *spec, Query *query, const IntoClause *into, int number,
				 MetaView *view)
{
	Oid			owner_id = GetUserId();
	const char *owner = quote_identifier(GetUserNameFromId(owner_id, false));
	char	   *space = tablespace_clause(into->tableSpaceName, "TABLESPACE");
	char	   *index_space = tablespace_clause(into->tableSpaceName, "USING INDEX TABLESPACE");
	bool		has_final = spec->options.emit != VIEW_EMIT_CHANGES;
	MetaIdentity identity;
	char	   *columns;
	Oid			schema = tm_meta_state_schema();

	tm_meta_enter(&identity);
	columns = tm_view_state_columns(spec);
	create_query_view(query, into->colNames, number);
	/* an entry with many versions, deduplicated, is read from the oldest on */
	tm_meta_execute(psprintf("CREATE TABLE tidemark_state.s_%d (%s, UNIQUE NULLS NOT DISTINCT (%s) "
							 "WITH (deduplicate_items = off)%s) WITH (fillfactor = 50)%s",
							 number, columns, tm_view_state_keys(spec), index_space, space));
	if (spec->window.kind == VIEW_WINDOW_SESSION && VIEW_CLOSES(&spec->options))
		tm_meta_execute(psprintf("CREATE INDEX ON tidemark_state.s_%d (g%d)%s", number,
								 spec->keys[spec->window.end_key].attno, space));
	if (has_final)
		create_final(spec, into, number, space);
	if (spec->options.late_table)
		tm_view_create_late_table(spec, number, space, GetUserNameFromId(owner_id, false));
	tm_meta_execute(psprintf("ALTER VIEW tidemark_state.q_%d OWNER TO %s", number, owner));
	tm_meta_execute(psprintf("ALTER TABLE tidemark_state.s_%d OWNER TO %s", number, owner));
	if (has_final)
		tm_meta_execute(psprintf("ALTER TABLE tidemark_state.f_%d OWNER TO %s", number, owner));
	tm_meta_leave(&identity);
	view->final_table = get_relname_relid(psprintf("f_%d", number), schema);
	view->late_table = get_relname_relid(psprintf("l_%d", number), schema);
	view->query_view = get_relname_relid(psprintf("q_%d", number), schema);
	view->state_table = get_relname_relid(psprintf("s_%d", number), schema);
}

/* The visible view, as the user and with his rights. */
static void
create_visible(const ViewSpec *spec, const IntoClause *into, MetaView *view)
{
	Oid			schema = RangeVarGetCreationNamespace(into->rel);
	char	   *name = quote_qualified_identifier(get_namespace_name(schema), into->rel->relname);
	int			level = NewGUCNestLevel();
	bool		has_final = OidIsValid(view->final_table);
	char	   *text;
	int			rc;

	/* the text is read back under the search_path it was written under */
	tm_setting_push("search_path", META_SEARCH_PATH);
	text = deparse(has_final ? tm_view_final_query(spec, view->final_table, view->state_table) :
				   tm_view_visible_query(spec, view->state_table));

	SPI_connect();
	/* the columns of f_<n> have the user's names already */
	rc = SPI_execute(psprintf("CREATE VIEW %s%s AS %s", name,
							  has_final ? "" : column_list(into->colNames), text),
					 false, 0);
	if (rc < 0)
		elog(ERROR, "could not create view: %s", SPI_result_code_string(rc));
	SPI_finish();
	AtEOXact_GUC(false, level);
	view->view = get_relname_relid(into->rel->relname, schema);
}

/* May the current user read what the view reads?  A stream: and use its server. */
void
tm_view_check_permissions(const ViewSpec *spec)
{
	Oid			server;
	AclResult	result;

	tm_check_query_permissions(spec->query);
	if (spec->window.kind == VIEW_WINDOW_SESSION)
		tm_check_query_permissions(tm_view_source_level(spec, spec->query));
	if (!spec->source_is_stream)
		return;
	server = GetForeignTable(spec->source)->serverid;
	result = object_aclcheck(ForeignServerRelationId, server, GetUserId(), ACL_USAGE);
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FOREIGN_SERVER, GetForeignServer(server)->servername);
}

/*
 * A view makes its table read-only for all but an ingest.  While there is none,
 * that is for the table's owner to decide.
 */
static void
check_table_owner(const ViewSpec *spec)
{
	if (spec->source_is_stream || tm_meta_ingest_find_by_table(spec->source) != NULL ||
		object_ownercheck(RelationRelationId, spec->source, GetUserId()))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("must be owner of table \"%s\"", get_rel_name(spec->source)),
			 errdetail("A continuous view on a table without ingest would keep everybody from writing it."),
			 errhint("Once its ingest is started, SELECT on the table is enough.")));
}

static bool
already_exists(const CreateTableAsStmt *stmt)
{
	RangeVar   *rel = stmt->into->rel;
	Oid			schema = RangeVarGetCreationNamespace(rel);

	if (!stmt->if_not_exists || !OidIsValid(get_relname_relid(rel->relname, schema)))
		return false;
	ereport(NOTICE,
			(errcode(ERRCODE_DUPLICATE_TABLE),
			 errmsg("relation \"%s\" already exists, skipping", rel->relname)));
	return true;
}

bool
tm_view_wants_create(const CreateTableAsStmt *stmt)
{
	ListCell   *lc;

	if (stmt->objtype != OBJECT_MATVIEW)
		return false;
	foreach(lc, stmt->into->options)
		if (tm_view_is_tidemark_option(lfirst(lc)))
		return true;
	return false;
}

void
tm_view_create(CreateTableAsStmt *stmt, const char *query_string)
{
	CreateOptions options;
	ViewSpec   *spec;
	MetaView	view = {0};

	parse_options(stmt->into->options, &options);
	check_statement(stmt->into, &options);
	if (!tm_meta_is_installed())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"tidemark\" is not installed in this database"),
				 errhint("Use CREATE EXTENSION tidemark.")));
	if (already_exists(stmt))
		return;
	spec = tm_view_analyze(castNode(Query, stmt->query), query_string, GetUserId(), &options.view);
	if (options.view.start_at != NULL && !spec->source_is_stream)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tidemark.start_at needs a view over a stream"),
				 errdetail("A view over a table has the rows of the table."),
				 errhint("Put a condition into WHERE instead.")));
	tm_view_check_permissions(spec);
	check_table_owner(spec);
	create_internals(spec, castNode(Query, stmt->query), stmt->into, tm_meta_new_object_number(),
					 &view);
	create_visible(spec, stmt->into, &view);

	view.source = spec->source;
	view.state = META_PAUSED;
	view.own_offsets = spec->source_is_stream;
	view.since = tm_clock_now();
	view.start_at = options.view.start_at;
	view.options = options.texts;
	view.settings = tm_view_capture_settings();
	view.stamps = tm_view_state_stamps(spec);
	tm_meta_view_insert(&view);
	CommandCounterIncrement();
	engine->populate(&view, !stmt->into->skipData);
}
