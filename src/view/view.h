/*
 * view.h
 *	  Door of the view room: what a continuous view is.
 *
 * A continuous view is an ordinary query over one growing source, kept as
 *
 *	q_<n>	a view: the user's query, unchanged, over the real source;
 *	s_<n>	the state table: one row per group, key columns g1.. and one column
 *			per distinct aggregate state a1..; unique over the keys;
 *	f_<n>	with tidemark.emit = 'final': the finished rows of closed windows;
 *	v		the plain view users see: finalises the states of s_<n>, or reads
 *			f_<n>.
 *
 * All but v live in schema tidemark_state.  Everything else is derived
 * from the query of q_<n> whenever it is needed, as a ViewSpec: so nothing
 * derived can be out of date after ALTER, RENAME, dump or restore.
 */
#ifndef TM_VIEW_H
#define TM_VIEW_H

#include "nodes/bitmapset.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "parser/parse_node.h"
#include "tcop/utility.h"

#include "meta/meta.h"
#include "window/window.h"

/* What a view keeps, and for how long: its tidemark.* options. */
typedef enum ViewEmit
{
	VIEW_EMIT_CHANGES,			/* every group as of the last commit */
	VIEW_EMIT_FINAL,			/* closed windows only, each once */
	VIEW_EMIT_REVISIONS,		/* and again when an admitted row changes one */
} ViewEmit;

typedef struct ContinuousOptions
{
	char	   *start_at;		/* NULL = earliest */
	int64		allowed_lateness;	/* us; STREAM_NEVER = nothing is late */
	int64		retention;		/* us; STREAM_NEVER = windows stay */
	ViewEmit	emit;
	bool		late_table;		/* keep late rows, not only count them */
	char	   *notify;			/* channel, or NULL */
} ContinuousOptions;

/* Do windows of the view close? */
#define VIEW_CLOSES(options) ((options)->allowed_lateness != STREAM_NEVER)

/* The time window that a view groups by. */
typedef enum ViewWindowKind
{
	VIEW_WINDOW_NONE,
	VIEW_WINDOW_TUMBLE,
	VIEW_WINDOW_HOP,
	VIEW_WINDOW_CUMULATE,
	VIEW_WINDOW_SESSION,
} ViewWindowKind;

typedef struct ViewWindow
{
	ViewWindowKind kind;
	Index		rti;			/* the function's entry in the range table;
								 * session: the subquery's */
	FuncExpr   *call;			/* with all arguments in their places;
								 * session: of session_start() or
								 * session_end() */
	Expr	   *ts;				/* its first argument, over the range table of
								 * the source */
	bool		on_event_time;	/* ts is the event time of the source */
	int			start_key;		/* index among the keys of window_start, -1 */
	int			end_key;		/* and of window_end */
	int64		gap;			/* session: us */
} ViewWindow;

/*
 * By which of its times a window is told from the others that a row is in:
 * window_end with cumulate(), whose windows share their starts.
 */
#define VIEW_WINDOW_LEAD_IS_END(window) ((window)->kind == VIEW_WINDOW_CUMULATE)

/* Is the view maintained by panes? */
#define VIEW_IS_PANED(spec) ((spec)->window.kind == VIEW_WINDOW_HOP || \
							 (spec)->window.kind == VIEW_WINDOW_CUMULATE)

/* A group key. */
typedef struct ViewKey
{
	Expr	   *expr;			/* over the query's range table */
	Index		sortgroupref;
	Oid			type;
	int32		typmod;
	Oid			collation;

	/*
	 * window_end of a tumble() or hop() whose window_start is a key too: a
	 * function of it, neither stored nor grouped by.  end_of is that key's
	 * index.
	 */
	int			end_of;			/* -1 = an ordinary, stored key */
	List	   *window_args;	/* for end_of >= 0: of tumble_end() or
								 * hop_end(), after the first */
	AttrNumber	attno;			/* column of the state table, 0 if derived */
} ViewKey;

/* A state: the transition value of one or more aggregates. */
typedef struct ViewState
{
	Aggref	   *aggref;			/* plain, as in the query */
	Oid			transtype;		/* resolved transition type */
	Oid			type;			/* of the column: transtype, or aggstate for
								 * internal */
	Oid			collation;
	AttrNumber	attno;
} ViewState;

/*
 * Is it an aggregate whose partial states are those of tidemark_state.int8_sum(),
 * and so the same with every version of the server?
 */
extern bool tm_view_is_int8_sum(Oid aggregate);

/* Does a delta have it as the bytes (bytea) of an internal state? */
extern bool tm_view_state_is_bytes(const ViewState *state);

typedef struct ViewSpec
{
	Query	   *query;			/* the user's query, group expressions
								 * flattened; session: WITH made a subquery,
								 * both bounds grouped by */
	Index		source_rti;		/* in the range table of source_level */
	Oid			source;
	bool		source_is_stream;
	ContinuousOptions options;
	ViewWindow	window;
	/* columns that finite lateness reads; InvalidAttrNumber: not there */
	AttrNumber	event_time;		/* of the source */
	AttrNumber	partition_att;	/* of a table: fed by metadata */
	AttrNumber	offset_att;
	AttrNumber	watermark_att;
	ViewKey    *keys;			/* stored in this order: window_start first;
								 * session: session_start, session_end last */
	int			nkeys;
	ViewState  *states;
	int			nstates;
	int			nstored_keys;	/* at least 1: a view without keys has a
								 * constant one */
	int			nunique_keys;	/* the first of them that tell groups apart:
								 * all, but for session_end */
	bool		no_keys;
	Bitmapset  *needed;			/* source attributes, as Bitmapset of Vars */
	List	   *other_tables;	/* OIDs of the ordinary tables it joins */
} ViewSpec;

/* ---- view_analyze.c ---- */

/*
 * Understand a query, or say by one error what is not supported, with its
 * position (0A000).  source_text: the text that locations in the query refer
 * to, or NULL.  view_owner: for privileges and row security.
 */
extern ViewSpec *tm_view_analyze(const Query *query, const char *source_text,
								 Oid view_owner, const ContinuousOptions *options);

/* The spec of an existing view, from its query view. */
extern ViewSpec *tm_view_load_spec(const MetaView *view);

/* Index of the group key that is a window_start, or -1. */
extern int	tm_view_find_window_start(const ViewSpec *spec);

/*
 * The sizes of its hop() or cumulate().  They may call functions, which the
 * caller has to be allowed to; throws as the window functions do.
 */
extern void tm_view_parse_panes(const ViewWindow *window, PanedSpec *panes);

/*
 * The level of the view's query, or of a copy of it, whose range table has the
 * source: the query itself, or the subquery that makes sessions.
 */
extern Query *tm_view_source_level(const ViewSpec *spec, const Query *query);

/* ---- view_options.c ---- */

/* From the texts "name=value" of the catalog. */
extern void tm_view_read_options(const List *texts, ContinuousOptions *options);

/* The query behind a (plain) view: a copy. */
extern Query *tm_view_get_query(Oid view);

/* ---- view_require.c: what a function that is given a view asks of it ---- */

/* The continuous view of that OID; 42P01, 42809, or 42501 unless its owner asks. */
extern MetaView *tm_view_require_owned(Oid relid);

/* A view that was found again after waiting for its lock; 42P01 if it is NULL. */
extern MetaView *tm_view_require_kept(MetaView *view);

/* 55000 unless the view has all its rows and takes in new ones. */
extern void tm_view_require_live(const MetaView *view);

/* ---- view_create.c ---- */

/* 42501 unless the current user may read what the view reads. */
extern void tm_view_check_permissions(const ViewSpec *spec);

/* ---- view_rewrite.c ---- */

/*
 * The query that turns the rows of a batch into partial states: one row per
 * group of the batch, stored keys first, then states.  Its source is the
 * range table function tidemark_state.batch_rows(), at spec->source_rti, with
 * the columns of the source relation; its Aggrefs are partial already
 * (AGGSPLIT_INITIAL_SERIAL), so it can be planned only by tm_maintain_plan().
 * over_source: keep the source relation itself, for its history.
 *
 * A view over hop() or cumulate() gets its rows by pane instead: the pane's
 * start, then with VIEW_ROWS_ON_TIME late_until (the rows are late for windows
 * that end up to there; NULL: for none), then the stored keys but those of the
 * window, then states.
 */
typedef enum ViewRows
{
	VIEW_ROWS_ALL,
	VIEW_ROWS_ON_TIME,			/* in no window that they are late for */
	VIEW_ROWS_ADMITTED,			/* in the one window of tm_window_lead; never
								 * by pane */
} ViewRows;

extern Query *tm_view_delta_query(const ViewSpec *spec, ViewRows rows, bool over_source);

/*
 * One row per row of the batch and window that it is late for (window_start,
 * window_end; NULL for sessions) and passes the view's conditions in:
 * tm_row, window_start, window_end.
 */
extern Query *tm_view_late_query(const ViewSpec *spec);

/*
 * Columns that tidemark_state.batch_rows() has behind those of the source.
 * tm_horizon: the row's watermark, or the view's horizon if that is later;
 * tm_window_lead: of the window that an admitted row goes to, the time that
 * VIEW_WINDOW_LEAD_IS_END() names.
 */
typedef enum BatchColumn
{
	BATCH_ROW,					/* tm_row int4: index among the rows */
	BATCH_PARTITION,			/* tm_partition int4 */
	BATCH_OFFSET,				/* tm_offset int8 */
	BATCH_HORIZON,				/* tm_horizon timestamptz */
	BATCH_WINDOW_LEAD,			/* tm_window_lead timestamptz */
	BATCH_NCOLUMNS
} BatchColumn;

/* The visible query: SELECT .. FROM s_<n>, with the check of is_populated. */
extern Query *tm_view_visible_query(const ViewSpec *spec, Oid state_table);

/*
 * The two sides of verify(): the view's own query (batch) and the visible one
 * (kept), each with the stored keys as first columns k1.., then the user's
 * columns.
 */
extern Query *tm_view_batch_query(const ViewSpec *spec);

/*
 * The batch side for a view whose windows close: over the rows that count.
 * Over a stream its source is tidemark_state.batch_rows().  verdicts: state
 * table of the view, InvalidOid when no verdicts are stored for it.
 */
extern Query *tm_view_counted_query(const ViewSpec *spec, Oid verdicts);
extern Query *tm_view_kept_query(const ViewSpec *spec, Oid state_table);

/*
 * The kept side of a view with tidemark.emit = 'final': closed windows, of each
 * group the last revision.
 */
extern Query *tm_view_kept_final_query(const ViewSpec *spec, Oid final_table);

/*
 * Is output column i (0-based among the user's columns) computed from an
 * aggregate whose state is made of floats?  Relative tolerance, 0 = exact.
 */
extern double tm_view_column_tolerance(const ViewSpec *spec, int column);

/*
 * Column definitions of the state table, and those that it is unique over, as
 * SQL.
 */
extern char *tm_view_state_columns(const ViewSpec *spec);
extern char *tm_view_state_keys(const ViewSpec *spec);

/*
 * name(type, ...) of a function: the same whatever the settings are, and wherever
 * its schema and its types are.
 */
extern char *tm_view_function_name(Oid function);

/* What the states are today: one text per state, compared before each use. */
extern List *tm_view_state_stamps(const ViewSpec *spec);
extern bool tm_view_has_current_states(const MetaView *view, const ViewSpec *spec);

/* Lists of char *. */
extern bool tm_view_equal_texts(const List *a, const List *b);

/*
 * The state table must have the columns that a new one would get, or no rebuild
 * can fill it (42804).
 */
extern void tm_view_check_state_columns(const MetaView *view, const ViewSpec *spec);

/* ---- view_final.c: f_<n>, the table of closed windows ---- */

/*
 * Its columns: the user's output, closed_at, revision with 'final, revisions',
 * then as tm_key_<i> the stored keys that the user does not output.
 */
typedef struct ViewFinal
{
	int			noutput;
	AttrNumber	closed_at;
	AttrNumber	revision;		/* InvalidAttrNumber: none */
	AttrNumber *keys;			/* per key of the spec; derived and not in the
								 * output: InvalidAttrNumber */
	int			window;			/* the key that orders windows and has an
								 * index: window_end if it is in the output */
} ViewFinal;

extern ViewFinal *tm_view_final_layout(const ViewSpec *spec);

/*
 * The end of the window of a row of the state table, or of the table of closed
 * windows: over range table entry 1.  Only for views with VIEW_CLOSES().
 */
extern Expr *tm_view_state_window_end(const ViewSpec *spec);
extern Expr *tm_view_final_window_end(const ViewSpec *spec);

/* Index of the stored key that orders the windows of the state table. */
extern int	tm_view_lead_key(const ViewSpec *spec);

/*
 * At most how much later than the lead key a window ends, and than the time that
 * verdicts on late rows name it by (meta_verdict.c), in us; -1: unknown.
 */
extern int64 tm_view_lead_distance(const ViewSpec *spec);
extern int64 tm_view_verdict_distance(const ViewSpec *spec);

/*
 * SQL over the groups with ctid = ANY ($1), in order of their windows, without
 * those that HAVING leaves out.  Parsed and run under the settings of the view.
 *	rows: the user's output columns;
 *	emit: as finished rows, closed at $2, into the table of closed windows;
 *	revise: the same, with the next revision of each group.
 * Emitting returns the user's output columns when the view notifies.
 */
extern char *tm_view_rows_statement(const MetaView *view, const ViewSpec *spec);
extern char *tm_view_emit_statement(const MetaView *view, const ViewSpec *spec, bool revise);

/* ---- view_settings.c: as whom and under which settings a view is computed ---- */

extern List *tm_view_capture_settings(void);

/* Apply them until AtEOXact_GUC(false, level). */
extern int	tm_view_push_settings(const MetaView *view);

/*
 * Become the view's owner, in a security-restricted operation and under the
 * view's settings, until leave.  An error restores all by itself.
 */
typedef struct ViewIdentity
{
	MetaIdentity meta;
	int			guc_level;
} ViewIdentity;

extern void tm_view_enter(const MetaView *view, ViewIdentity *identity);
extern void tm_view_leave(const ViewIdentity *identity);
extern Oid	tm_view_get_owner(const MetaView *view);

/* ---- view_ddl.c: statements, called by the ProcessUtility hook ---- */

/*
 * Called after a view's objects were made, to fill it; and for statements
 * that need the engine.  Set once at load by the layer above (arrows point
 * down).
 */
typedef struct ViewEngine
{
	/* a new view: take the history in (with_data), or leave it paused */
	void		(*populate) (const MetaView *view, bool with_data);
	/* REFRESH MATERIALIZED VIEW */
	void		(*refresh) (const MetaView *view);
	/* objects were dropped: forget ingests that fed only this view, ... */
	void		(*forget) (const MetaView *view);
} ViewEngine;

extern void tm_view_set_engine(const ViewEngine *engine);

/*
 * If the statement concerns a continuous view, execute or rewrite it.  True:
 * done, core must not see it.  *pstmt may be replaced by a rewritten copy.
 */
extern bool tm_view_process_utility(PlannedStmt **pstmt, const char *query_string,
									ProcessUtilityContext context, ParamListInfo params,
									QueryCompletion *qc);

/* A relation of it was dropped: drop the rest (view_drop.c). */
extern void tm_view_drop(const MetaView *view);

/* Refuse DML on sources and states: called at executor start. */
extern void tm_view_check_writes(PlannedStmt *plan);

/* Refuse a new constraint that is a foreign key to what is behind a view. */
extern void tm_view_check_constraint(Oid constraint);

/* ---- view_removal.c: raw rows that left the table of a view ---- */

/*
 * A table is about to be dropped or truncated: note for the views over it, or
 * over a table that it is a partition of, which rows they alone have then.
 * Called by the object access hook.
 */
extern void tm_view_before_removal(Oid relid, bool drop);

/* Which groups of a view may have lost raw rows. */
typedef struct ViewRemoval
{
	int			key;			/* of the spec, that tells; -1 = any group */
	Oid			type;			/* of that key */
	MetaRemoved *ranges;		/* of its values */
	int			nranges;
	char	   *description;	/* a sentence */
} ViewRemoval;

/* The one column of time that a table is partitioned by in ranges, or 0. */
extern AttrNumber tm_view_find_range_column(Oid source, Oid *type);

/*
 * What rows a partition of the source may have, by the column of time; not
 * known, or a default partition: any.
 */
extern MetaRemoved tm_view_get_partition_range(Oid source, Oid child);

/* As the active snapshot sees it; NULL = no rows were removed. */
extern ViewRemoval *tm_view_find_removal(const MetaView *view, const ViewSpec *spec);
extern bool tm_view_may_have_lost(const ViewRemoval *removal, Datum key, bool isnull);

/* A sentence on what was removed from a table; n > 0. */
extern char *tm_view_describe_removed(Oid source, const MetaRemoved *ranges, int n);

/*
 * The one plan that may write a state at the next executor start, or NULL; not
 * what its triggers do.
 */
extern void tm_view_allow_plan(const PlannedStmt *plan);

#endif							/* TM_VIEW_H */
