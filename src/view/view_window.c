/*
 * view_window.c
 *	  The time window that a view groups by, and what closing windows needs.
 *
 * A window comes from a function in FROM: tumble(), hop() or cumulate(), whose
 * columns window_start and window_end are group keys; or from session_start()
 * and session_end() in a subquery (view_session.c).  window_end of tumble()
 * and hop() follows from window_start, so it is not stored.
 *
 * The key that orders windows is stored first: closing walks the index of the
 * state table from its beginning and stops at the first open window.
 *
 * Runs in: backends, at CREATE and when a view is loaded.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "stream/stream.h"
#include "view/view_internal.h"

#define WINDOW_START_ATT 1
#define WINDOW_END_ATT 2

/* ---- the functions ---- */

ViewWindowKind
tm_view_window_kind(Oid funcid)
{
	char	   *name = get_func_name(funcid);

	if (name == NULL || get_func_namespace(funcid) != get_namespace_oid("tidemark", true))
		return VIEW_WINDOW_NONE;
	if (strcmp(name, "tumble") == 0)
		return VIEW_WINDOW_TUMBLE;
	if (strcmp(name, "hop") == 0)
		return VIEW_WINDOW_HOP;
	if (strcmp(name, "cumulate") == 0)
		return VIEW_WINDOW_CUMULATE;
	return VIEW_WINDOW_NONE;
}

/* The call behind a range table entry, if it is one of ours. */
static FuncExpr *
get_window_call(const RangeTblEntry *rte)
{
	RangeTblFunction *function;

	if (rte->rtekind != RTE_FUNCTION || list_length(rte->functions) != 1 ||
		rte->funcordinality)
		return NULL;
	function = linitial(rte->functions);
	if (!IsA(function->funcexpr, FuncExpr) ||
		tm_view_window_kind(((FuncExpr *) function->funcexpr)->funcid) == VIEW_WINDOW_NONE)
		return NULL;
	return (FuncExpr *) function->funcexpr;
}

/* With named and omitted arguments put in their places. */
static FuncExpr *
complete_call(const FuncExpr *call)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(call->funcid));
	FuncExpr   *result = copyObject(unconstify(FuncExpr *, call));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", call->funcid);
	result->args = expand_function_arguments(result->args, false, result->funcresulttype, tuple);
	ReleaseSysCache(tuple);
	return result;
}

/* Is the expression a column of a window function, and which one? */
static bool
is_window_column(const Query *query, const Expr *expr, Index *rti, AttrNumber *attno)
{
	const Var  *var = (const Var *) expr;

	if (!IsA(expr, Var) || var->varlevelsup > 0 || var->varattno <= 0 ||
		get_window_call(rt_fetch(var->varno, query->rtable)) == NULL)
		return false;
	*rti = var->varno;
	*attno = var->varattno;
	return true;
}

bool
tm_view_is_tumble_column(const Query *query, const Expr *expr, Index *rti, AttrNumber *attno,
						 FuncExpr **call)
{
	if (!is_window_column(query, expr, rti, attno))
		return false;
	*call = get_window_call(rt_fetch(*rti, query->rtable));
	return tm_view_window_kind((*call)->funcid) == VIEW_WINDOW_TUMBLE;
}

/* ---- keys ---- */

/*
 * What tumble_end() and hop_end() take besides window_start: size [, timezone];
 * slide, size, origin [, timezone].
 */
List *
tm_view_end_args(const FuncExpr *call)
{
	List	   *args = call->args;
	List	   *result;

	if (tm_view_window_kind(call->funcid) == VIEW_WINDOW_HOP)
		return list_copy_tail(args, 1);
	result = list_make1(lsecond(args));
	if (list_length(args) > 3)
		result = lappend(result, lfourth(args));
	return result;
}

/*
 * window_end beside window_start of the same call with constant size: derive
 * it.
 */
static void
derive_end(ViewSpec *spec, int end, Index rti, const FuncExpr *call)
{
	FuncExpr   *complete = complete_call(call);
	List	   *args;

	if (tm_view_window_kind(call->funcid) == VIEW_WINDOW_CUMULATE)
		return;
	args = tm_view_end_args(complete);
	if (contain_var_clause((Node *) args) || contain_subplans((Node *) args))
		return;
	for (int i = 0; i < spec->nkeys; i++)
	{
		Index		start_rti;
		AttrNumber	attno;

		if (is_window_column(spec->query, spec->keys[i].expr, &start_rti, &attno) &&
			start_rti == rti && attno == WINDOW_START_ATT)
		{
			spec->keys[end].end_of = i;
			spec->keys[end].window_args = args;
		}
	}
}

static void
swap_keys(ViewSpec *spec, int a, int b)
{
	ViewKey		key = spec->keys[a];

	spec->keys[a] = spec->keys[b];
	spec->keys[b] = key;
}

/* Put the keys of the window in front, the one that orders windows first. */
static void
order_keys(ViewSpec *spec)
{
	ViewWindow *window = &spec->window;
	int			lead = window->start_key;

	if (lead < 0 || window->kind == VIEW_WINDOW_CUMULATE)
		lead = window->end_key;
	if (lead < 0)
		return;
	swap_keys(spec, 0, lead);
}

static void
note_keys(ViewSpec *spec)
{
	ViewWindow *window = &spec->window;

	window->start_key = window->end_key = -1;
	for (int i = 0; i < spec->nkeys; i++)
	{
		Index		rti;
		AttrNumber	attno;

		if (!is_window_column(spec->query, spec->keys[i].expr, &rti, &attno) ||
			rti != window->rti)
			continue;
		if (attno == WINDOW_START_ATT)
			window->start_key = i;
		else
			window->end_key = i;
	}
}

static void
derive_ends(ViewSpec *spec)
{
	for (int i = 0; i < spec->nkeys; i++)
	{
		Index		rti;
		AttrNumber	attno;

		if (is_window_column(spec->query, spec->keys[i].expr, &rti, &attno) &&
			attno == WINDOW_END_ATT)
			derive_end(spec, i, rti, get_window_call(rt_fetch(rti, spec->query->rtable)));
	}
}

/* ---- the window of the view ---- */

/*
 * hop() and cumulate() are kept by panes, which belong to several windows: the
 * window's columns must be nothing but group keys.
 */
typedef struct WindowUse
{
	const ViewSpec *spec;
	int			sublevels_up;
	int			location;
} WindowUse;

static bool
other_use_walker(Node *node, WindowUse *use)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var) && ((Var *) node)->varno == (int) use->spec->window.rti &&
		(int) ((Var *) node)->varlevelsup == use->sublevels_up)
	{
		use->location = ((Var *) node)->location;
		return true;
	}
	if (IsA(node, Query))
	{
		bool		result;

		use->sublevels_up++;
		result = query_tree_walker((Query *) node, other_use_walker, use, 0);
		use->sublevels_up--;
		return result;
	}
	return expression_tree_walker(node, other_use_walker, use);
}

/* Lateral references. */
static bool
used_in_range_table(const ViewSpec *spec, WindowUse *use)
{
	ListCell   *lc;

	foreach(lc, spec->query->rtable)
	{
		RangeTblEntry *rte = lfirst(lc);

		if (other_use_walker((Node *) rte->functions, use) ||
			other_use_walker((Node *) rte->values_lists, use) ||
			other_use_walker((Node *) rte->subquery, use))
			return true;
	}
	return false;
}

static bool
is_key(const ViewSpec *spec, Node *node)
{
	for (int i = 0; i < spec->nkeys; i++)
		if (equal(node, spec->keys[i].expr))
			return true;
	return false;
}

/* In the select list and HAVING: group keys as such are allowed. */
static bool
other_output_walker(Node *node, WindowUse *use)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var) && is_key(use->spec, node))
		return false;
	if (IsA(node, Aggref))
		return other_use_walker(node, use);
	if (IsA(node, Var))
		return other_use_walker(node, use);
	return expression_tree_walker(node, other_output_walker, use);
}

static bool
check_other_keys(const ViewSpec *spec, WindowUse *use)
{
	for (int i = 0; i < spec->nkeys; i++)
		if (i != spec->window.start_key && i != spec->window.end_key &&
			other_use_walker((Node *) spec->keys[i].expr, use))
			return true;
	return false;
}

static bool
has_constant_sizes(const FuncExpr *call)
{
	Node	   *sizes = (Node *) list_copy_tail(call->args, 1);

	return !contain_var_clause(sizes) && !contain_subplans(sizes);
}

/* At CREATE; whoever loads a view need not be who may evaluate the sizes. */
static void
check_sizes(const ViewWindow *window, ParseState *pstate)
{
	ParseCallbackState callback;
	PanedSpec	panes;

	if (pstate->p_sourcetext == NULL || !has_constant_sizes(window->call))
		return;
	setup_parser_errposition_callback(&callback, pstate, window->call->location);
	if (window->kind == VIEW_WINDOW_TUMBLE)
		tm_view_check_tumble(window->call);
	else
		tm_view_parse_panes(window, &panes);
	cancel_parser_errposition_callback(&callback);
}

static void
check_paned(ViewSpec *spec, ParseState *pstate)
{
	ViewWindow *window = &spec->window;
	Query	   *query = spec->query;
	WindowUse	use = {.spec = spec,.location = -1};
	char	   *name = get_func_name(window->call->funcid);

	if (window->end_key < 0 &&
		(window->start_key < 0 || window->kind == VIEW_WINDOW_CUMULATE))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s() in a continuous view needs its window in GROUP BY", name),
				 errhint("Add window_start and window_end to GROUP BY."),
				 parser_errposition(pstate, window->call->location)));
	/* panes cannot keep rows that lie in no window */
	if (tm_view_is_nullable(query, window->rti))
		tm_view_refuse(pstate, window->call->location,
					   psprintf("%s() on the nullable side of an outer join is", name),
					   "Use CROSS JOIN; rows in no window are in no group then.");
	if (!has_constant_sizes(window->call))
		tm_view_refuse(pstate, window->call->location,
					   psprintf("%s() with sizes that are not constant is", name),
					   "Write the sizes as constants.");
	check_sizes(window, pstate);
	if (other_use_walker((Node *) query->jointree, &use) || used_in_range_table(spec, &use) ||
		check_other_keys(spec, &use) ||
		other_output_walker((Node *) query->targetList, &use) ||
		other_output_walker(query->havingQual, &use))
		tm_view_refuse(pstate, use.location,
					   psprintf("a column of %s() outside of GROUP BY, HAVING and the select list is", name),
					   "Use it in the query that reads the view.");
}

void
tm_view_find_window(ViewSpec *spec, ParseState *pstate)
{
	ViewWindow *window = &spec->window;
	ListCell   *lc;
	Index		rti = 0;
	int			nwindows = 0;
	bool		paned = false;

	if (window->kind == VIEW_WINDOW_SESSION)
	{
		tm_view_order_session_keys(spec);
		return;
	}
	derive_ends(spec);
	foreach(lc, spec->query->rtable)
	{
		FuncExpr   *call = get_window_call(lfirst(lc));

		rti++;
		if (call == NULL)
			continue;
		nwindows++;
		window->kind = tm_view_window_kind(call->funcid);
		window->rti = rti;
		window->call = complete_call(call);
		window->ts = linitial(window->call->args);
		if (window->kind == VIEW_WINDOW_TUMBLE)
			check_sizes(window, pstate);
		else
			paned = true;
	}
	if (nwindows > 1 && paned)
		tm_view_refuse(pstate, window->call->location,
					   "hop() or cumulate() beside another window function is",
					   "Define one view per window.");
	if (nwindows != 1)
	{
		/* several: ordinary keys, that never close */
		memset(window, 0, sizeof(*window));
		window->start_key = window->end_key = -1;
		return;
	}
	note_keys(spec);
	if (paned)
		check_paned(spec, pstate);
	order_keys(spec);

	/*
	 * the swap has moved keys, so what was derived from positions is made
	 * anew
	 */
	for (int i = 0; i < spec->nkeys; i++)
		spec->keys[i].end_of = -1;
	derive_ends(spec);
	note_keys(spec);
}

int
tm_view_find_window_start(const ViewSpec *spec)
{
	return spec->window.start_key;
}

Query *
tm_view_source_level(const ViewSpec *spec, const Query *query)
{
	if (spec->window.kind != VIEW_WINDOW_SESSION)
		return unconstify(Query *, query);
	return rt_fetch(spec->window.rti, query->rtable)->subquery;
}

/* ---- what closing needs ---- */

/* The column of a source that is fed from this column of its stream. */
static AttrNumber
source_column(const ViewSpec *spec, const StreamOptions *options, AttrNumber attnum)
{
	if (attnum == InvalidAttrNumber || spec->source_is_stream)
		return attnum;
	for (int i = 0; i < options->ncolumns; i++)
		if (options->columns[i].attnum == attnum)
			return get_attnum(spec->source, options->columns[i].name);
	return InvalidAttrNumber;
}

static AttrNumber
metadata_column(const ViewSpec *spec, const StreamOptions *options, StreamMetadata metadata)
{
	for (int i = 0; i < options->ncolumns; i++)
	{
		AttrNumber	attnum = options->columns[i].attnum;
		AttrNumber	result;

		if (options->columns[i].metadata != metadata)
			continue;
		result = source_column(spec, options, attnum);
		/* a table may have cast it to another type */
		if (result != InvalidAttrNumber &&
			get_atttype(spec->source, result) != get_atttype(options->relid, attnum))
			return InvalidAttrNumber;
		return result;
	}
	return InvalidAttrNumber;
}

void
tm_view_find_time_columns(ViewSpec *spec)
{
	MetaIngest *ingest = spec->source_is_stream ? NULL :
	tm_meta_ingest_find_by_table(spec->source);
	Oid			stream = spec->source_is_stream ? spec->source :
	(ingest ? ingest->stream : InvalidOid);
	StreamOptions *options;
	Node	   *ts = strip_implicit_coercions((Node *) spec->window.ts);

	if (!OidIsValid(stream))
		return;
	options = tm_stream_get_options(stream);
	spec->event_time = options->event_time != InvalidAttrNumber ?
		source_column(spec, options, options->event_time) :
		metadata_column(spec, options, STREAM_META_TIMESTAMP);
	if (!spec->source_is_stream)
	{
		spec->partition_att = metadata_column(spec, options, STREAM_META_PARTITION);
		spec->offset_att = metadata_column(spec, options, STREAM_META_OFFSET);
		spec->watermark_att = metadata_column(spec, options, STREAM_META_WATERMARK);
	}
	spec->window.on_event_time = ts != NULL && IsA(ts, Var) &&
		spec->event_time != InvalidAttrNumber &&
		((Var *) ts)->varno == (int) spec->source_rti &&
		((Var *) ts)->varattno == spec->event_time;
}

static const char *
closing_option(const ContinuousOptions *options)
{
	if (options->emit != VIEW_EMIT_CHANGES)
		return "emit";
	return options->retention != STREAM_NEVER ? "retention" : "allowed_lateness";
}

/* The statements that would give a table the columns that lateness reads. */
static char *
metadata_hint(const ViewSpec *spec)
{
	MetaIngest *ingest = tm_meta_ingest_find_by_table(spec->source);
	const char *stream = ingest ? quote_identifier(get_rel_name(ingest->stream)) : "...";
	const char *table = quote_identifier(get_rel_name(spec->source));
	StringInfoData buf;
	struct
	{
		AttrNumber	attno;
		const char *column;
		const char *type;
		const char *metadata;
	}			columns[] = {
		{spec->partition_att, "kafka_partition", "int", "partition"},
		{spec->offset_att, "kafka_offset", "bigint", "offset"},
		{spec->watermark_att, "kafka_watermark", "timestamptz", "watermark"},
	};

	if (ingest == NULL)
		return "Start the ingest of the table first, with tidemark.start_ingest().";
	initStringInfo(&buf);
	appendStringInfoString(&buf, "Before the first row is ingested:");
	for (int i = 0; i < (int) lengthof(columns); i++)
		if (columns[i].attno == InvalidAttrNumber)
			appendStringInfo(&buf, " ALTER FOREIGN TABLE %s ADD COLUMN %s %s OPTIONS (metadata '%s'); ALTER TABLE %s ADD COLUMN %s %s;",
							 stream, columns[i].column, columns[i].type, columns[i].metadata,
							 table, columns[i].column, columns[i].type);
	return buf.data;
}

void
tm_view_check_closing(const ViewSpec *spec, ParseState *pstate)
{
	const ViewWindow *window = &spec->window;
	const char *option = closing_option(&spec->options);

	if (!VIEW_CLOSES(&spec->options))
		return;
	if (window->kind == VIEW_WINDOW_NONE || (window->start_key < 0 && window->end_key < 0))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("tidemark.%s needs a view grouped by one time window", option),
				 errdetail("Only groups with window_start or window_end as key ever close."),
				 errhint("Add FROM ..., tidemark.tumble(event_time, '10 s') and GROUP BY window_start, window_end.")));
	if (window->kind == VIEW_WINDOW_SESSION && spec->options.emit == VIEW_EMIT_REVISIONS)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("tidemark.emit = 'final, revisions' is not supported for sessions"),
				 errdetail("A row that is admitted later may change where a session starts and ends, and join several."),
				 errhint("Use tidemark.emit = 'changes', which shows sessions as they are, or 'final'."),
				 parser_errposition(pstate, exprLocation((Node *) window->ts))));
	if (spec->query->havingQual != NULL && spec->options.emit == VIEW_EMIT_REVISIONS)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("HAVING is not supported with tidemark.emit = 'final, revisions'"),
				 errdetail("A row that is admitted later may make the condition false for a group that has been emitted."),
				 errhint("Put the condition into the query that reads the view."),
				 parser_errposition(pstate, exprLocation(spec->query->havingQual))));
	if (!window->on_event_time)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("tidemark.%s needs a window over the event time of the source", option),
				 errdetail("The watermark says nothing about other columns or expressions."),
				 errhint("Give the event_time column of the stream, as it is, to the window function."),
				 parser_errposition(pstate, exprLocation((Node *) window->ts))));
	if (window->kind != VIEW_WINDOW_SESSION && !has_constant_sizes(window->call))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("tidemark.%s needs windows of a constant size", option),
				 errdetail("Windows close in the order of their ends."),
				 errhint("Write the size as a constant."),
				 parser_errposition(pstate, window->call->location)));
	if (!spec->source_is_stream &&
		(spec->partition_att == InvalidAttrNumber || spec->offset_att == InvalidAttrNumber ||
		 spec->watermark_att == InvalidAttrNumber))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("tidemark.%s over table \"%s\" needs its metadata columns partition, offset and watermark",
						option, get_rel_name(spec->source)),
				 errdetail("Which rows are late is read from the table."),
				 errhint("%s", metadata_hint(spec))));
}
