/*
 * int8_sum.c
 *	  The state of sum(bigint) and avg(bigint): how many, and their sum.
 *
 * The server keeps it in an internal form, which has to be made from numeric and
 * into numeric for each group of each batch.  So the partial aggregate is one of
 * our own, tidemark_state.int8_sum(), whose state is an aggstate of fixed size
 * from the first row on.  The sum has 128 bits, as in the server, and the results
 * are made as the server makes them.
 *
 * Bytes are in network order: a dump means the same on every machine.
 *
 * Runs in: every process that maintains views; every backend that reads one.
 * Memory: the current context.
 */
#include "postgres.h"

#include "fmgr.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/numeric.h"

#include "base/compat.h"
#include "maintain/maintain_internal.h"

PG_FUNCTION_INFO_V1(tm_int8_sum_add);

/* "i8s1": says what the bytes are, as the stamps of other states do. */
#define INT8_SUM_STAMP 0x69387331

typedef struct Int8Sum
{
	uint64		n;
	uint64		high;			/* two's complement of 128 bits */
	uint64		low;
} Int8Sum;

/* An aggstate; the sum is in network order, and not aligned. */
typedef struct Int8SumDatum
{
	int32		vl_len_;
	uint32		stamp;
	char		sum[sizeof(Int8Sum)];
} Int8SumDatum;

uint32
tm_int8_sum_stamp(void)
{
	return INT8_SUM_STAMP;
}

static void
read_sum(const Int8SumDatum *stored, Int8Sum *sum)
{
	Int8Sum		raw;

	memcpy(&raw, stored->sum, sizeof(raw));
	sum->n = pg_ntoh64(raw.n);
	sum->high = pg_ntoh64(raw.high);
	sum->low = pg_ntoh64(raw.low);
}

static void
write_sum(Int8SumDatum *stored, const Int8Sum *sum)
{
	Int8Sum		raw;

	raw.n = pg_hton64(sum->n);
	raw.high = pg_hton64(sum->high);
	raw.low = pg_hton64(sum->low);
	memcpy(stored->sum, &raw, sizeof(raw));
}

static Datum
make_datum(const Int8Sum *sum)
{
	Int8SumDatum *stored = palloc(sizeof(Int8SumDatum));

	SET_VARSIZE(stored, sizeof(Int8SumDatum));
	stored->stamp = INT8_SUM_STAMP;
	write_sum(stored, sum);
	return PointerGetDatum(stored);
}

static Int8SumDatum *
get_datum(Oid aggregate, Datum value)
{
	Int8SumDatum *stored = (Int8SumDatum *) PG_DETOAST_DATUM(value);

	if (VARSIZE(stored) != sizeof(Int8SumDatum) || stored->stamp != INT8_SUM_STAMP)
		tm_partial_state_mismatch(aggregate);
	return stored;
}

static void
add(Int8Sum *sum, uint64 n, uint64 high, uint64 low)
{
	sum->n += n;
	sum->low += low;
	sum->high += high + (sum->low < low);
}

/* int8_sum_add(state aggstate, value bigint) -> aggstate, in place where it may */
Datum
tm_int8_sum_add(PG_FUNCTION_ARGS)
{
	Int8SumDatum *stored;
	Int8Sum		sum = {0};
	int64		value;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	value = PG_GETARG_INT64(1);
	if (PG_ARGISNULL(0))
	{
		add(&sum, 1, value < 0 ? PG_UINT64_MAX : 0, (uint64) value);
		PG_RETURN_DATUM(make_datum(&sum));
	}
	stored = get_datum(F_SUM_INT8, PG_GETARG_DATUM(0));
	read_sum(stored, &sum);
	add(&sum, 1, value < 0 ? PG_UINT64_MAX : 0, (uint64) value);
	if (!AggCheckCallContext(fcinfo, NULL))
		PG_RETURN_DATUM(make_datum(&sum));
	write_sum(stored, &sum);
	PG_RETURN_POINTER(stored);
}

Datum
tm_int8_sum_combine(Oid aggregate, Datum a, bool a_isnull, Datum b, bool b_isnull, bool *isnull)
{
	Int8Sum		sum = {0};
	Int8Sum		other;

	*isnull = a_isnull && b_isnull;
	if (*isnull)
		return (Datum) 0;
	if (!a_isnull)
		read_sum(get_datum(aggregate, a), &sum);
	if (!b_isnull)
	{
		read_sum(get_datum(aggregate, b), &other);
		add(&sum, other.n, other.high, other.low);
	}
	return make_datum(&sum);
}

static Datum
multiply_add(Datum a, int64 factor, int64 more)
{
	return DirectFunctionCall2(numeric_add,
							   DirectFunctionCall2(numeric_mul, a,
												   NumericGetDatum(int64_to_numeric(factor))),
							   NumericGetDatum(int64_to_numeric(more)));
}

static Datum
make_numeric(const Int8Sum *sum)
{
	const int64 base = INT64CONST(1) << 32;
	Datum		result;

	if ((int64) sum->high == (int64) sum->low >> 63)
		return NumericGetDatum(int64_to_numeric((int64) sum->low));
	result = NumericGetDatum(int64_to_numeric((int64) sum->high));
	result = multiply_add(result, base, (int64) (sum->low >> 32));
	return multiply_add(result, base, (int64) (sum->low & PG_UINT32_MAX));
}

Datum
tm_int8_sum_final(Oid aggregate, Datum value, bool value_isnull, bool *isnull)
{
	Int8Sum		sum = {0};

	if (!value_isnull)
		read_sum(get_datum(aggregate, value), &sum);
	*isnull = sum.n == 0;
	if (*isnull)
		return (Datum) 0;
	if (aggregate == F_SUM_INT8)
		return make_numeric(&sum);
	return DirectFunctionCall2(numeric_div, make_numeric(&sum),
							   NumericGetDatum(int64_to_numeric((int64) sum.n)));
}
