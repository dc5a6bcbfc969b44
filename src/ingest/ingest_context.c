/*
 * ingest_context.c
 *	  What a process keeps about a stream from batch to batch: options, decoder,
 *	  store target, and the verdicts that max_error_ratio is judged by.
 *
 * Everything but the verdicts is built anew after an invalidation of the
 * stream, its server, its table or the set of views; so an ALTER takes effect
 * at the next batch, and a batch, which holds locks on stream and table from
 * its first step, never sees half of one.
 *
 * Runs in: workers; backends that call inject().
 * Memory: one context per stream below CacheMemoryContext.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "ingest/ingest_internal.h"
#include "maintain/maintain.h"

static HTAB *contexts = NULL;

static void
on_relcache(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	IngestContext *ctx;

	hash_seq_init(&status, contexts);
	while ((ctx = hash_seq_search(&status)) != NULL)
		if (relid == InvalidOid || relid == ctx->stream || relid == ctx->into_table)
			ctx->valid = false;
}

static void
on_syscache(Datum arg, int cacheid, uint32 hashvalue)
{
	on_relcache(arg, InvalidOid);
}

static void
init_contexts(void)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid),.entrysize = sizeof(IngestContext),
	.hcxt = CacheMemoryContext};

	contexts = hash_create("tidemark ingests", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(on_relcache, (Datum) 0);
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, on_syscache, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, on_syscache, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, on_syscache, (Datum) 0);
}

/* State tables of these views, in their order. */
static List *
state_tables(List *views)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, views)
		result = lappend_oid(result, ((MetaView *) lfirst(lc))->state_table);
	return result;
}

/* Which columns of the stream does anybody read? */
static Bitmapset *
collect_needed(IngestContext *ctx, List *stream_views)
{
	Bitmapset  *needed = NULL;
	ListCell   *lc;

	if (ctx->store != NULL)
		needed = bms_copy(tm_store_needed(ctx->store));
	foreach(lc, stream_views)
		needed = bms_add_members(needed, tm_maintain_needed(lfirst(lc)));
	/* an empty set means nothing; NULL would mean everything */
	if (needed == NULL)
		needed = bms_make_singleton(0);
	return needed;
}

static void
open_store(IngestContext *ctx, Relation stream, List *table_views)
{
	Bitmapset  *wanted = bms_make_singleton(0);
	ListCell   *lc;
	Relation	table = table_open(ctx->into_table, NoLock);
	MetaIdentity identity;

	ctx->table_owner = table->rd_rel->relowner;
	ctx->table_natts = RelationGetDescr(table)->natts;
	tm_meta_enter_as(ctx->table_owner, &identity);
	ctx->store = tm_store_open(table, stream, ctx->cxt);
	tm_meta_leave(&identity);
	foreach(lc, table_views)
		wanted = bms_add_members(wanted, tm_maintain_needed(lfirst(lc)));
	tm_store_set_wanted(ctx->store, wanted);
	table_close(table, NoLock);
}

static void
build_context(IngestContext *ctx, const MetaIngest *ingest, List *stream_views, List *table_views)
{
	Relation	stream = table_open(ingest->stream, NoLock);
	MemoryContext before;

	if (ctx->cxt != NULL)
		MemoryContextDelete(ctx->cxt);
	ctx->cxt = NULL;
	ctx->store = NULL;
	ctx->cxt = AllocSetContextCreate(CacheMemoryContext, "tidemark ingest", ALLOCSET_DEFAULT_SIZES);
	before = MemoryContextSwitchTo(ctx->cxt);
	ctx->valid = true;			/* an invalidation from here on must show */
	ctx->into_table = ingest->into_table;
	ctx->options = tm_stream_get_options(ingest->stream);
	if (OidIsValid(ctx->into_table))
		open_store(ctx, stream, table_views);
	ctx->state_tables = list_concat(state_tables(stream_views), state_tables(table_views));
	ctx->decoder = tm_stream_decoder_open(ctx->options, RelationGetDescr(stream),
										  collect_needed(ctx, stream_views), ctx->cxt);
	MemoryContextSwitchTo(before);
	table_close(stream, NoLock);
}

IngestContext *
tm_ingest_context_get(const MetaIngest *ingest, List *stream_views, List *table_views)
{
	List	   *tables = list_concat(state_tables(stream_views), state_tables(table_views));
	IngestContext *ctx;
	bool		found;

	if (contexts == NULL)
		init_contexts();
	AcceptInvalidationMessages();
	ctx = hash_search(contexts, &ingest->stream, HASH_ENTER, &found);
	if (!found)
		memset(((char *) ctx) + sizeof(Oid), 0, sizeof(IngestContext) - sizeof(Oid));
	if (!ctx->valid || ctx->decoder == NULL || ctx->into_table != ingest->into_table ||
		!equal(ctx->state_tables, tables))
	{
		ctx->decoder = NULL;
		build_context(ctx, ingest, stream_views, table_views);
	}
	if (ctx->recent_since != ingest->since)
	{
		ctx->recent_since = ingest->since;
		ctx->recent_count = ctx->recent_next = ctx->recent_nbad = 0;
	}
	return ctx;
}
