/*
 * server.c
 *	  As much of the server as decoding takes, for programs of its own.
 *
 * Memory comes from one heap, or with AddressSanitizer from malloc() piece by
 * piece; in both cases server_reset() frees all that came since server_keep().
 * Input functions take everything: their Datum is the text they got.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "base/compat.h"

#include "server.h"

#define HEAP_SIZE ((size_t) 256 << 20)

MemoryContext CurrentMemoryContext = NULL;
MemoryContext TopMemoryContext = NULL;
int			server_encoding = PG_UTF8;

#ifdef __SANITIZE_ADDRESS__

typedef struct Piece
{
	struct Piece *next;
	Size		size;
	char		bytes[FLEXIBLE_ARRAY_MEMBER];
}			Piece;

static Piece * pieces = NULL;
static Piece * kept = NULL;

void
server_keep(void)
{
	kept = pieces;
}

void
server_reset(void)
{
	while (pieces != kept)
	{
		Piece	   *next = pieces->next;

		free(pieces);
		pieces = next;
	}
}

void *
palloc(Size size)
{
	Piece	   *piece = malloc(offsetof(Piece, bytes) + size);

	piece->next = pieces;
	piece->size = size;
	pieces = piece;
	return piece->bytes;
}

static Size
size_of(void *pointer)
{
	return ((Piece *) ((char *) pointer - offsetof(Piece, bytes)))->size;
}

#else

static char *heap = NULL;
static char *heap_top = NULL;
static char *kept = NULL;

void
server_keep(void)
{
	kept = heap_top;
}

void
server_reset(void)
{
	heap_top = kept;
}

void *
palloc(Size size)
{
	Size	   *piece;

	if (heap == NULL)
		heap = heap_top = malloc(HEAP_SIZE);
	piece = (Size *) heap_top;
	heap_top += MAXALIGN(size) + sizeof(Size);
	if (heap_top > heap + HEAP_SIZE)
		abort();
	*piece = size;
	return piece + 1;
}

static Size
size_of(void *pointer)
{
	return ((Size *) pointer)[-1];
}

#endif

void *
palloc0(Size size)
{
	return memset(palloc(size), 0, size);
}

void *
repalloc(void *pointer, Size size)
{
	return memcpy(palloc(size), pointer, Min(size, size_of(pointer)));
}

void
pfree(void *pointer)
{
}

char *
pnstrdup(const char *string, Size size)
{
	char	   *copy;

	size = strnlen(string, size);
	copy = memcpy(palloc(size + 1), string, size);
	copy[size] = '\0';
	return copy;
}

char *
pstrdup(const char *string)
{
	return pnstrdup(string, strlen(string));
}

/* What decoders remember outlives server_reset(). */
void *
MemoryContextAllocZero(MemoryContext cxt, Size size)
{
	return calloc(1, size);
}

char *
MemoryContextStrdup(MemoryContext cxt, const char *string)
{
	return strdup(string);
}

MemoryContext
AllocSetContextCreateInternal(MemoryContext parent, const char *name,
							  Size min_size, Size first_size, Size max_size)
{
	return NULL;
}

int
GetDatabaseEncoding(void)
{
	return server_encoding;
}

char *
pg_server_to_any(const char *string, int len, int encoding)
{
	return unconstify(char *, string);
}

char *
pg_any_to_server(const char *string, int len, int encoding)
{
	return unconstify(char *, string);
}

int
pg_mbcliplen(const char *string, int len, int limit)
{
	return Min(len, limit);
}

char
get_typtype(Oid type)
{
	return TYPTYPE_BASE;
}

Oid
get_element_type(Oid type)
{
	return InvalidOid;
}

Oid
getBaseTypeAndTypmod(Oid type, int32 *typmod)
{
	return type;
}

char *
format_type_be(Oid type)
{
	return psprintf("type %u", type);
}

void
getTypeInputInfo(Oid type, Oid *function, Oid *ioparam)
{
	*function = InvalidOid;
	*ioparam = InvalidOid;
}

void
fmgr_info_cxt(Oid function, FmgrInfo *info, MemoryContext cxt)
{
}

text *
cstring_to_text_with_len(const char *string, int len)
{
	text	   *result = palloc(len + VARHDRSZ);

	SET_VARSIZE(result, len + VARHDRSZ);
	memcpy(VARDATA(result), string, len);
	return result;
}

Datum
InputFunctionCall(FmgrInfo *info, char *string, Oid ioparam, int32 typmod)
{
	return PointerGetDatum(cstring_to_text_with_len(string, strlen(string)));
}

/* Not declared before 16. */
extern bool InputFunctionCallSafe(FmgrInfo *info, char *string, Oid ioparam,
								  int32 typmod, fmNodePtr escontext,
								  Datum *result);

bool
InputFunctionCallSafe(FmgrInfo *info, char *string, Oid ioparam, int32 typmod,
					  fmNodePtr escontext, Datum *result)
{
	*result = InputFunctionCall(info, string, ioparam, typmod);
	return true;
}

Numeric
int64_to_numeric(int64 value)
{
	char	   *string = psprintf("%lld", (long long) value);

	return (Numeric) cstring_to_text_with_len(string, strlen(string));
}

/* Enough of bool_in() for both sides of a comparison. */
bool
parse_bool_with_len(const char *value, size_t len, bool *result)
{
	*result = len > 0 && *value == 't';
	return len == 1 && (*value == 't' || *value == 'f');
}
