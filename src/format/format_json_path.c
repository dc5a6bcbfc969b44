/*
 * format_json_path.c
 *	  The columns' fields as a tree of member names.
 *
 * A field is a member name, or a JSON pointer (RFC 6901) when it starts with
 * "/".  Names are kept in UTF-8, as messages have them.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "format/format_internal.h"

/* Reference tokens of a JSON pointer. */
#define MAX_TOKENS 100

uint32
tm_format_path_hash(const char *key, size_t len)
{
	uint64		head = 0;
	uint64		tail = 0;

	if (len >= 8)
	{
		memcpy(&head, key, 8);
		memcpy(&tail, key + len - 8, 8);
	}
	else
		for (size_t i = 0; i < len; i++)
			head = head << 8 | (unsigned char) key[i];
	head = (head ^ (tail * UINT64CONST(0x9E3779B97F4A7C15)) ^ len) *
		UINT64CONST(0xD6E8FEB86659FD93);
	return (uint32) (head >> 32);
}

FormatNode *
tm_format_path_find(const FormatNode *node, const char *key, size_t len)
{
	uint32		hash;

	if (node->nchildren == 0)
		return NULL;
	hash = tm_format_path_hash(key, len);
	for (FormatNode *child = node->buckets[hash & node->mask];
		 child != NULL; child = child->chain)
		if (child->hash == hash && child->keylen == len &&
			memcmp(child->key, key, len) == 0)
			return child;
	return NULL;
}

/* A token as an index into an array, or -1. */
static int64
parse_index(const char *token, int len)
{
	int64		index = 0;

	if (len == 0 || len > 15 || (len > 1 && token[0] == '0'))
		return -1;
	for (int i = 0; i < len; i++)
	{
		if (token[i] < '0' || token[i] > '9')
			return -1;
		index = index * 10 + (token[i] - '0');
	}
	return index;
}

/* The child of this name, made if it is missing. */
static FormatNode *
add_child(FormatDecoder *decoder, FormatNode *parent, const char *key, int len)
{
	FormatNode *child;

	for (int i = 0; i < parent->nchildren; i++)
	{
		child = parent->children[i];
		if (child->keylen == len && memcmp(child->key, key, len) == 0)
			return child;
	}
	child = palloc0(sizeof(FormatNode));
	child->key = pnstrdup(key, len);
	child->keylen = len;
	child->hash = tm_format_path_hash(key, len);
	child->index = parse_index(key, len);
	child->parent = parent;
	if (parent->children == NULL)
		parent->children = palloc(sizeof(FormatNode *));
	else
		parent->children = repalloc(parent->children, (parent->nchildren + 1) *
									sizeof(FormatNode *));
	parent->children[parent->nchildren++] = child;
	if (decoder->nodes == NULL)
		decoder->nodes = palloc(sizeof(FormatNode *));
	else
		decoder->nodes = repalloc(decoder->nodes, (decoder->nnodes + 1) *
								  sizeof(FormatNode *));
	decoder->nodes[decoder->nnodes++] = child;
	return child;
}

static void
fail_pointer(const FormatColumn *column, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid JSON pointer \"%s\" for column \"%s\"",
					column->field, column->column),
			 errdetail("%s", detail)));
}

/* The node a JSON pointer (in UTF-8) leads to. */
static FormatNode *
add_pointer(FormatDecoder *decoder, const FormatColumn *column,
			const char *pointer)
{
	FormatNode *node = decoder->root;
	char	   *token = palloc(strlen(pointer));
	int			ntokens = 0;

	while (*pointer == '/')
	{
		int			len = 0;

		if (++ntokens > MAX_TOKENS)
			fail_pointer(column, psprintf("It has more than %d levels.",
										  MAX_TOKENS));
		for (pointer++; *pointer != '\0' && *pointer != '/'; pointer++)
		{
			token[len] = *pointer;
			if (*pointer == '~')
			{
				pointer++;
				if (*pointer != '0' && *pointer != '1')
					fail_pointer(column,
								 "\"~\" must be followed by \"0\" (for \"~\") or \"1\" (for \"/\").");
				token[len] = *pointer == '0' ? '~' : '/';
			}
			len++;
		}
		node = add_child(decoder, node, token, len);
	}
	pfree(token);
	return node;
}

/* Order of children: those that are no array index, then by index. */
static int
compare_children(const void *a, const void *b)
{
	int64		left = (*(FormatNode *const *) a)->index;
	int64		right = (*(FormatNode *const *) b)->index;

	return left < right ? -1 : left > right ? 1 : 0;
}

/* Prepare the lookup of a node's children. */
static void
index_children(FormatNode *node)
{
	uint32		size = 4;

	if (node->nchildren == 0)
		return;
	while (size < 2 * (uint32) node->nchildren)
		size *= 2;
	node->mask = size - 1;
	node->buckets = palloc0(size * sizeof(FormatNode *));
	for (int i = 0; i < node->nchildren; i++)
	{
		FormatNode *child = node->children[i];
		FormatNode **bucket = &node->buckets[child->hash & node->mask];

		child->chain = *bucket;
		*bucket = child;
	}
	qsort(node->children, node->nchildren, sizeof(FormatNode *),
		  compare_children);
}

/* Build the tree of the decoder's inputs, in the current context. */
void
tm_format_path_build(FormatDecoder *decoder)
{
	decoder->root = palloc0(sizeof(FormatNode));
	for (int i = 0; i < decoder->ninputs; i++)
	{
		FormatInput *input = &decoder->inputs[i];
		const char *field = input->column.field;
		char	   *utf8 = pg_server_to_any(field, strlen(field), PG_UTF8);

		if (utf8[0] == '/')
			input->node = add_pointer(decoder, &input->column, utf8);
		else
			input->node = add_child(decoder, decoder->root, utf8,
									strlen(utf8));
	}
	index_children(decoder->root);
	for (int i = 0; i < decoder->nnodes; i++)
		index_children(decoder->nodes[i]);
}

/* The next character that counts when names are compared loosely, or 0. */
static inline char
next_loose(const char **p, const char *end)
{
	while (*p < end && (**p == '_' || **p == '-'))
		(*p)++;
	return *p < end ? pg_ascii_tolower((unsigned char) *(*p)++) : '\0';
}

static bool
is_near(const char *a, size_t a_len, const char *b, size_t b_len)
{
	const char *a_end = a + a_len;
	const char *b_end = b + b_len;
	char		left;
	char		right;

	do
	{
		left = next_loose(&a, a_end);
		right = next_loose(&b, b_end);
		if (left != right)
			return false;
	} while (left != '\0');
	return true;
}

/* A member that no node wants: is its name like that of one never seen? */
void
tm_format_path_note_near_miss(FormatNode *node, const char *key, size_t len,
							  MemoryContext cxt)
{
	if (len == 0 || len > 4 * NAMEDATALEN)
		return;
	for (int i = 0; i < node->nchildren; i++)
	{
		FormatNode *child = node->children[i];

		if (!child->seen && child->near_miss == NULL &&
			is_near(child->key, child->keylen, key, len))
			child->near_miss = MemoryContextStrdup(cxt, pnstrdup(key, len));
	}
}

Bitmapset *
tm_format_absent(const FormatDecoder *decoder)
{
	Bitmapset  *absent = NULL;

	if (decoder->messages == 0)
		return NULL;
	for (int i = 0; i < decoder->ninputs; i++)
		if (!decoder->inputs[i].node->seen)
			absent = bms_add_member(absent, i);
	return absent;
}

const char *
tm_format_near_miss(const FormatDecoder *decoder, int column)
{
	const FormatNode *node = decoder->inputs[column].node;
	char	   *name;

	/* on the way of a JSON pointer any name may be the wrong one */
	while (node != NULL && node->near_miss == NULL)
		node = node->parent;
	if (node == NULL)
		return NULL;
	name = node->near_miss;
	return pg_any_to_server(name, strlen(name), PG_UTF8);
}
