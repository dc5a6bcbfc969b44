/*
 * view_internal.h
 *	  Shared by the files of the view room only.
 */
#ifndef TM_VIEW_INTERNAL_H
#define TM_VIEW_INTERNAL_H

#include "view/view.h"

/* ---- view_refuse.c: what a query must not contain ---- */

/*
 * Walk all expressions of a query and refuse functions whose answer depends
 * on when or by whom they are asked.
 */
extern void tm_view_refuse_functions(const Query *query, ParseState *pstate);

/* 0A000 with position, message and hint. */
extern void tm_view_refuse(ParseState *pstate, int location, const char *what,
						   const char *hint);

/* ---- view_source.c: which relation of the query grows ---- */

/* Sets source_rti, source, source_is_stream, other_tables of spec. */
extern void tm_view_find_source(ViewSpec *spec, ParseState *pstate, Oid view_owner);

/* Where the query first reads a column of its top level, or -1. */
extern int	tm_view_column_location(const Query *query, Index rti, AttrNumber attno);

/* Is the entry below the nullable side of an outer join? */
extern bool tm_view_is_nullable(const Query *query, Index rti);

/* ---- view_window.c ---- */

/* tidemark.tumble(), hop() or cumulate()? */
extern ViewWindowKind tm_view_window_kind(Oid funcid);

/* Sets window of spec, derives and orders its keys. */
extern void tm_view_find_window(ViewSpec *spec, ParseState *pstate);

/* Sets event_time, ..._att and window.on_event_time of spec. */
extern void tm_view_find_time_columns(ViewSpec *spec);

/* 0A000 unless the windows of a view that wants it can close. */
extern void tm_view_check_closing(const ViewSpec *spec, ParseState *pstate);

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

/* ---- view_create.c ---- */

extern bool tm_view_is_tidemark_option(const DefElem *def);
extern bool tm_view_wants_create(const CreateTableAsStmt *stmt);
extern void tm_view_create(CreateTableAsStmt *stmt, const char *query_string);
extern const ViewEngine *tm_view_get_engine(void);

/* ---- view_guard.c ---- */

/* Refuse a write to this relation when it is a source or a state. */
extern void tm_view_check_write(Oid relid);

#endif							/* TM_VIEW_INTERNAL_H */
