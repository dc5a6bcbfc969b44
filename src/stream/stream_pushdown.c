/*
 * stream_pushdown.c
 *	  Conditions on partition, offset and timestamp: what a scan need not read.
 *
 * A condition `column operator value` on one of these metadata columns bounds
 * the scan when the value is the same for the whole scan: constants,
 * parameters, STABLE expressions.  The operator must be a btree comparison of
 * the column's own operator family, so its meaning is known whatever its name.
 * Values are evaluated when the scan starts.  The result may allow more than
 * the conditions do, never less, and the executor still checks every row.
 *
 * A lower bound on the timestamp becomes the first offset at or after it; an
 * upper bound does not bound the offsets, since timestamps need not ascend.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "stream/stream_internal.h"

/* a code: which column, which comparison, one value or an array */
#define CODE(metadata, strategy, is_array) \
	((metadata) * 16 + (strategy) * 2 + ((is_array) ? 1 : 0))
#define CODE_METADATA(code)	((StreamMetadata) ((code) / 16))
#define CODE_STRATEGY(code)	((code) / 2 % 8)
#define CODE_IS_ARRAY(code)	((code) % 2 != 0)

/* what the planner believes that one condition leaves of the log */
#define PARTITION_SHARE		0.1
#define POSITION_SHARE		0.001
#define RANGE_SHARE			0.3333

/* Metadata of the column that this expression is, if scans can use it. */
static StreamMetadata
find_metadata(const StreamOptions *options, Index relid, Node *node,
			  Oid *type)
{
	Var		   *var;

	if (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	if (!IsA(node, Var))
		return STREAM_META_NONE;
	var = (Var *) node;
	if (var->varno != relid || var->varlevelsup != 0)
		return STREAM_META_NONE;

	for (int i = 0; i < options->ncolumns; i++)
	{
		const StreamColumn *column = &options->columns[i];

		if (column->attnum == var->varattno &&
			(column->metadata == STREAM_META_PARTITION ||
			 column->metadata == STREAM_META_OFFSET ||
			 column->metadata == STREAM_META_TIMESTAMP))
		{
			*type = column->format.type;
			return column->metadata;
		}
	}
	return STREAM_META_NONE;
}

static bool
is_scan_constant(Node *value)
{
	return !contain_var_clause(value) && !contain_volatile_functions(value) &&
		!contain_subplans(value);
}

static bool
is_usable_type(StreamMetadata metadata, Oid type)
{
	if (metadata == STREAM_META_TIMESTAMP)
		return type == TIMESTAMPTZOID || type == TIMESTAMPOID || type == DATEOID;
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

static void
collect_comparison(const StreamOptions *options, Index relid, OpExpr *clause,
				   List **exprs, List **codes)
{
	Node	   *column = linitial(clause->args);
	Node	   *value = lsecond(clause->args);
	Oid			operator = clause->opno;
	Oid			type;
	StreamMetadata metadata;
	int			strategy;

	metadata = find_metadata(options, relid, column, &type);
	if (metadata == STREAM_META_NONE)
	{
		value = linitial(clause->args);
		column = lsecond(clause->args);
		operator = get_commutator(operator);
		metadata = find_metadata(options, relid, column, &type);
	}
	if (metadata == STREAM_META_NONE || !OidIsValid(operator) ||
		!is_usable_type(metadata, exprType(value)) || !is_scan_constant(value))
		return;

	strategy = get_op_opfamily_strategy(operator,
										lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY)->btree_opf);
	if (strategy == InvalidStrategy)
		return;
	*exprs = lappend(*exprs, value);
	*codes = lappend_int(*codes, CODE(metadata, strategy, false));
}

/* column = ANY (array) */
static void
collect_membership(const StreamOptions *options, Index relid,
				   ScalarArrayOpExpr *clause, List **exprs, List **codes)
{
	Node	   *value = lsecond(clause->args);
	Oid			type;
	StreamMetadata metadata;

	metadata = find_metadata(options, relid, linitial(clause->args), &type);
	if (metadata == STREAM_META_NONE || metadata == STREAM_META_TIMESTAMP ||
		!clause->useOr ||
		!is_usable_type(metadata, get_element_type(exprType(value))) ||
		!is_scan_constant(value) ||
		get_op_opfamily_strategy(clause->opno,
								 lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY)->btree_opf) !=
		BTEqualStrategyNumber)
		return;
	*exprs = lappend(*exprs, value);
	*codes = lappend_int(*codes, CODE(metadata, BTEqualStrategyNumber, true));
}

void
tm_stream_pushdown_collect(const StreamOptions *options,
						   const RelOptInfo *baserel,
						   List **exprs, List **codes)
{
	ListCell   *lc;

	*exprs = NIL;
	*codes = NIL;
	foreach(lc, baserel->baserestrictinfo)
	{
		Expr	   *clause = lfirst_node(RestrictInfo, lc)->clause;

		if (IsA(clause, OpExpr) && list_length(((OpExpr *) clause)->args) == 2)
			collect_comparison(options, baserel->relid, (OpExpr *) clause,
							   exprs, codes);
		else if (IsA(clause, ScalarArrayOpExpr))
			collect_membership(options, baserel->relid,
							   (ScalarArrayOpExpr *) clause, exprs, codes);
	}
}

/* ---- planning ---- */

/* How many values does a constant array have?  0 = unknown. */
static int
count_elements(Node *expr)
{
	Const	   *constant = (Const *) expr;
	ArrayType  *array;

	if (!IsA(expr, Const) || constant->constisnull)
		return 0;
	array = DatumGetArrayTypeP(constant->constvalue);
	return ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
}

double
tm_stream_pushdown_guess(List *codes, List *exprs, int *npartitions)
{
	double		share = 1;
	ListCell   *lc;
	ListCell   *expr;

	*npartitions = 0;
	forboth(lc, codes, expr, exprs)
	{
		int			code = lfirst_int(lc);
		bool		equal = CODE_STRATEGY(code) == BTEqualStrategyNumber;
		bool		lower = equal ||
		CODE_STRATEGY(code) == BTGreaterEqualStrategyNumber ||
		CODE_STRATEGY(code) == BTGreaterStrategyNumber;

		switch (CODE_METADATA(code))
		{
			case STREAM_META_PARTITION:
				if (equal)
					*npartitions = CODE_IS_ARRAY(code) ? count_elements(lfirst(expr)) : 1;
				share *= equal ? Min(PARTITION_SHARE * Max(*npartitions, 1), 1) : RANGE_SHARE;
				break;
			case STREAM_META_OFFSET:
				share *= equal ? POSITION_SHARE : RANGE_SHARE;
				break;
			default:
				/* an upper bound on the timestamp bounds no offsets */
				share *= lower ? RANGE_SHARE : 1;
		}
	}
	return share;
}

/* ---- when the scan starts ---- */

static int64
integer_value(Datum value, Oid type)
{
	if (type == INT2OID)
		return DatumGetInt16(value);
	if (type == INT4OID)
		return DatumGetInt32(value);
	return DatumGetInt64(value);
}

/* Narrow from..to (both inclusive) by a comparison. */
static void
narrow(int64 *from, int64 *to, int strategy, int64 value)
{
	switch (strategy)
	{
		case BTLessStrategyNumber:
			*to = Min(*to, value > PG_INT64_MIN ? value - 1 : value);
			break;
		case BTLessEqualStrategyNumber:
			*to = Min(*to, value);
			break;
		case BTEqualStrategyNumber:
			*from = Max(*from, value);
			*to = Min(*to, value);
			break;
		case BTGreaterEqualStrategyNumber:
			*from = Max(*from, value);
			break;
		case BTGreaterStrategyNumber:
			*from = Max(*from, value < PG_INT64_MAX ? value + 1 : value);
			break;
	}
}

static void
apply_timestamp(StreamRange *range, int strategy, Datum value, Oid type)
{
	TimestampTz since;

	if (strategy == BTLessStrategyNumber || strategy == BTLessEqualStrategyNumber)
		return;

	/* as the comparison operators across these types convert */
	if (type == TIMESTAMPOID)
		since = DatumGetTimestampTz(DirectFunctionCall1(timestamp_timestamptz, value));
	else if (type == DATEOID)
		since = DatumGetTimestampTz(DirectFunctionCall1(date_timestamptz, value));
	else
		since = DatumGetTimestampTz(value);

	if (TIMESTAMP_IS_NOEND(since))
		range->none = true;
	else
		range->since = Max(range->since, since);
}

static void
apply_array(StreamRange *range, StreamMetadata metadata, Datum value, Oid type)
{
	Oid			element = get_element_type(type);
	int16		len;
	bool		byval;
	char		align;
	Datum	   *datums;
	bool	   *isnull;
	int			n;
	int			kept = 0;
	int64	   *list;

	get_typlenbyvalalign(element, &len, &byval, &align);
	deconstruct_array(DatumGetArrayTypeP(value), element, len, byval, align,
					  &datums, &isnull, &n);
	list = palloc_array(int64, Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		if (!isnull[i])
			list[kept++] = integer_value(datums[i], element);
	}

	if (kept == 0)
		range->none = true;
	else if (metadata == STREAM_META_PARTITION && range->npartitions < 0)
	{
		range->partitions = list;
		range->npartitions = kept;
	}
	else if (metadata == STREAM_META_OFFSET)
	{
		int64		least = list[0];
		int64		greatest = list[0];

		for (int i = 1; i < kept; i++)
		{
			least = Min(least, list[i]);
			greatest = Max(greatest, list[i]);
		}
		range->offset_from = Max(range->offset_from, least);
		if (greatest < PG_INT64_MAX)
			range->offset_to = Min(range->offset_to, greatest + 1);
	}
}

static void
apply_value(StreamRange *range, int code, Datum value, Oid type)
{
	StreamMetadata metadata = CODE_METADATA(code);
	int			strategy = CODE_STRATEGY(code);

	if (CODE_IS_ARRAY(code))
		apply_array(range, metadata, value, type);
	else if (metadata == STREAM_META_TIMESTAMP)
		apply_timestamp(range, strategy, value, type);
	else if (metadata == STREAM_META_PARTITION)
		narrow(&range->partition_from, &range->partition_to, strategy,
			   integer_value(value, type));
	else
	{
		int64		last = PG_INT64_MAX;

		narrow(&range->offset_from, &last, strategy, integer_value(value, type));
		if (last < PG_INT64_MAX)
			range->offset_to = Min(range->offset_to, last + 1);
	}
}

void
tm_stream_pushdown_evaluate(List *codes, List *states, ExprContext *econtext,
							StreamRange *range)
{
	ListCell   *code;
	ListCell   *state;

	memset(range, 0, sizeof(*range));
	range->partition_to = PG_INT32_MAX;
	range->npartitions = -1;
	range->offset_to = PG_INT64_MAX;
	range->since = DT_NOBEGIN;

	forboth(code, codes, state, states)
	{
		ExprState  *expr = lfirst(state);
		bool		isnull;
		Datum		value = ExecEvalExprSwitchContext(expr, econtext, &isnull);

		/* a comparison with NULL is never true */
		if (isnull)
			range->none = true;
		else
			apply_value(range, lfirst_int(code), value,
						exprType((Node *) expr->expr));
	}
	if (range->offset_from >= range->offset_to ||
		range->partition_from > range->partition_to)
		range->none = true;
}

bool
tm_stream_range_has_partition(const StreamRange *range, int32 partition)
{
	if (partition < range->partition_from || partition > range->partition_to)
		return false;
	if (range->npartitions < 0)
		return true;
	for (int i = 0; i < range->npartitions; i++)
	{
		if (range->partitions[i] == partition)
			return true;
	}
	return false;
}

/* ---- EXPLAIN ---- */

/*
 * What a parameter of the plan stands for is known above this node only, which
 * nobody tells us of: it is shown as $N, as one of the query's would be.
 */
static Node *
number_parameters(Node *node, void *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Param))
	{
		Param	   *param = copyObject((Param *) node);

		param->paramkind = PARAM_EXTERN;
		return (Node *) param;
	}
	return expression_tree_mutator(node, number_parameters, context);
}

static char *
describe_value(Node *expr, List *context)
{
	Const	   *constant = (Const *) expr;
	Oid			output;
	bool		varlena;

	if (!IsA(expr, Const) || constant->constisnull)
		return deparse_expression(number_parameters(expr, NULL), context, false, false);
	getTypeOutputInfo(constant->consttype, &output, &varlena);
	return OidOutputFunctionCall(output, constant->constvalue);
}

char *
tm_stream_pushdown_describe(List *codes, List *exprs, bool on_partition,
							List *context)
{
	static const char *const operators[] = {"", "<", "<=", "=", ">=", ">"};
	StringInfoData buf;
	ListCell   *lc;
	ListCell   *expr;

	initStringInfo(&buf);
	forboth(lc, codes, expr, exprs)
	{
		int			code = lfirst_int(lc);
		StreamMetadata metadata = CODE_METADATA(code);

		if ((metadata == STREAM_META_PARTITION) != on_partition)
			continue;
		appendStringInfo(&buf, "%s%s %s %s",
						 buf.len > 0 ? " and " : "",
						 tm_stream_metadata_name(metadata),
						 CODE_IS_ARRAY(code) ? "in" :
						 operators[CODE_STRATEGY(code)],
						 describe_value(lfirst(expr), context));
	}
	return buf.len > 0 ? buf.data : NULL;
}
