/*
 * view_internal.h
 *	  Shared by the files of the view room only.
 */
#ifndef TM_VIEW_INTERNAL_H
#define TM_VIEW_INTERNAL_H

#include "lib/stringinfo.h"

#include "view/view.h"

/* ---- view_refuse.c: what a query must not contain ---- */

/*
 * Walk all expressions of a query and refuse functions whose answer depends
 * on when or by whom they are asked.
 */
extern void tm_view_refuse_functions(const Query *query, ParseState *pstate);

/*
 * The same for the query of a plain view that is read at location.  Views that
 * it reads itself are for the caller to find.
 */
extern void tm_view_refuse_functions_of_view(const Query *query, ParseState *pstate,
											 const char *view, int location);

/* 0A000 with position, message and hint. */
extern void tm_view_refuse(ParseState *pstate, int location, const char *what,
						   const char *hint);

/* ---- view_source.c: which relation of the query grows ---- */

/* Sets source_rti, source, source_is_stream, other_tables of spec. */
extern void tm_view_find_source(ViewSpec *spec, ParseState *pstate, Oid view_owner);

/* Where the query first reads a column of its top level, or -1. */
extern int	tm_view_column_location(const Query *query, Index rti, AttrNumber attno);

/* Range table indexes of the outer joins on whose nullable side the entry is. */
extern Bitmapset *tm_view_nulling_joins(const Query *query, Index rti);

/* Is there any? */
extern bool tm_view_is_nullable(const Query *query, Index rti);

/* ---- view_window.c ---- */

/* tidemark.tumble(), hop() or cumulate()? */
extern ViewWindowKind tm_view_window_kind(Oid funcid);

/* Is the expression column attno of the tumble() call behind an entry of the range table? */
extern bool tm_view_is_tumble_column(const Query *query, const Expr *expr, Index *rti,
									 AttrNumber *attno, FuncExpr **call);

/*
 * Of a complete call of tumble() or hop(): what tumble_end() and hop_end() take
 * besides window_start.
 */
extern List *tm_view_end_args(const FuncExpr *call);

/*
 * Throws when the constant sizes of a complete call of tumble() make no window.
 */
extern void tm_view_check_tumble(const FuncExpr *call);

/* Sets window of spec, derives and orders its keys. */
extern void tm_view_find_window(ViewSpec *spec, ParseState *pstate);

/* Sets event_time, ..._att and window.on_event_time of spec. */
extern void tm_view_find_time_columns(ViewSpec *spec);

/* 0A000 unless the windows of a view that wants it can close. */
extern void tm_view_check_closing(const ViewSpec *spec, ParseState *pstate);

/* ---- view_session.c ---- */

/*
 * If the query makes sessions: sets window of spec, its keys excepted, and
 * brings the query into the one shape that the rest knows.
 */
extern void tm_view_find_session(ViewSpec *spec, ParseState *pstate);

/* Orders the keys of such a view, and sets those of its window. */
extern void tm_view_order_session_keys(ViewSpec *spec);

/* ---- view_create.c ---- */

/* Make l_<number> and give it to owner; as the extension's owner. */
extern void tm_view_create_late_table(const ViewSpec *spec, int number, const char *space,
									  const char *owner);

/* ---- view_set.c ---- */

/* SET or RESET options of a view; the caller has checked its owner. */
extern void tm_view_set_options(const MetaView *view, const List *changes, bool reset);

/* ---- view_options.c ---- */

/* "name=value" of an option of CREATE. */
extern char *tm_view_option_text(const DefElem *def);

/* Is there an option tidemark.NAME, besides tidemark.continuous? */
extern bool tm_view_is_option(const char *name);

/* Aggregates that share a transition value share a state. */
extern bool tm_view_same_state(const Aggref *a, const Aggref *b);

/* ---- view_delta.c ---- */

/*
 * Is a row on time for its window, or as such for a view over sessions?  Over
 * the range table of the source's level.
 */
extern Node *tm_view_make_on_time(const ViewSpec *spec, Node *horizon);
extern void tm_view_add_qual(Query *level, Node *qual);
extern void tm_view_add_output(Query *query, Expr *expr, char prefix, Index sortgroupref);

/* ---- view_delta_paned.c ---- */

/* Keys of the query's window, which a delta has in the form of panes. */
extern bool tm_view_is_window_key(const ViewSpec *spec, int key);

/*
 * Let the query group by panes instead: takes the window function out of its
 * FROM clause, adds the first outputs and their clauses.  horizon: of
 * VIEW_ROWS_ON_TIME, or NULL.
 */
extern void tm_view_add_panes(const ViewSpec *spec, Query *query, Node *horizon);

/* Before it is multiplied by windows: can a row be late for one? */
extern Node *tm_view_make_late_candidate(const ViewSpec *spec, Node *horizon);

/* ---- view_rewrite.c ---- */

/* The end of the window that starts at start: a call of tumble_end() or hop_end(). */
extern Node *tm_view_make_end(const ViewSpec *spec, Node *start, const List *window_args);

/* A group key over a row of the state table. */
extern Node *tm_view_make_key(const ViewSpec *spec, const ViewKey *key);

/* An expression of the view's query over a row of the state table. */
extern Node *tm_view_finalise(const ViewSpec *spec, Node *node);

/* A query over one table, with nothing selected yet. */
extern Query *tm_view_make_query(Oid table);

/* Append the user's output columns, over the state table. */
extern void tm_view_add_final_columns(const ViewSpec *spec, Query *query);

/* is_populated(state_table) */
extern Node *tm_view_make_populated(Oid state_table);

/* ", name type COLLATE .." of a column definition. */
extern void tm_view_append_column(StringInfo buf, const char *name, Oid type, int32 typmod,
								  Oid collation);

/* ---- view_final.c ---- */

/*
 * Column definitions of the table of closed windows.  names: what CREATE calls
 * the first columns.  42701 when the user has a column of a name that is added.
 */
extern char *tm_view_final_definition(const ViewSpec *spec, const List *names);

/* Names of the columns that want an index: those of the window. */
extern List *tm_view_final_indexed(const ViewSpec *spec, Oid final_table);

/* The visible query of a view that shows closed windows only. */
extern Query *tm_view_final_query(const ViewSpec *spec, Oid final_table, Oid state_table);

/* ---- view_create.c ---- */

extern bool tm_view_is_tidemark_option(const DefElem *def);
extern bool tm_view_wants_create(const CreateTableAsStmt *stmt);
extern void tm_view_create(CreateTableAsStmt *stmt, const char *query_string);
extern const ViewEngine *tm_view_get_engine(void);

/* ---- view_guard.c ---- */

/* Refuse a write to this relation when it is a source or a state. */
extern void tm_view_check_write(Oid relid);

/* The source that is the table or that the table is a partition of, or InvalidOid. */
extern Oid	tm_view_find_guarded(Oid relid);

/* ---- view_removal.c ---- */

/* ATTACH and DETACH: refuse rows that no view has seen, note what leaves. */
extern void tm_view_check_partitions(Node *stmt);

#endif							/* TM_VIEW_INTERNAL_H */
