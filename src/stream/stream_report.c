/*
 * stream_report.c
 *	  What a scan has met and tells at its end: one WARNING about bad messages,
 *	  one NOTICE about members that no message had.
 *
 * Findings are those of one pass over the log.  Participants of a parallel scan
 * each have their own; the leader merges them and reports alone.
 */
#include "postgres.h"

#include "stream/stream_internal.h"

/* fewer messages say nothing about members that are absent */
#define MIN_JUDGED			100

void
tm_stream_findings_note_bad(StreamFindings *findings, const KafkaMessage *msg,
							const FormatError *error)
{
	if (findings->bad++ > 0)
		return;
	findings->partition = msg->partition;
	findings->offset = msg->offset;
	findings->error = *error;
}

void
tm_stream_findings_merge(StreamFindings *findings, const StreamFindings *other)
{
	int64		bad = findings->bad + other->bad;
	int64		messages = findings->messages + other->messages;
	int64		values = findings->values + other->values;
	bool		finished = findings->finished && other->finished;

	if (other->bad > 0 &&
		(findings->bad == 0 || other->partition < findings->partition ||
		 (other->partition == findings->partition &&
		  other->offset < findings->offset)))
		*findings = *other;
	findings->bad = bad;
	findings->messages = messages;
	findings->values = values;
	findings->finished = finished;
}

void
tm_stream_findings_report_bad(const StreamFindings *findings, const char *name)
{
	if (findings->bad > 0)
		ereport(WARNING,
				(errcode(findings->error.sqlstate),
				 errmsg_plural("%lld bad message of stream \"%s\" was skipped",
							   "%lld bad messages of stream \"%s\" were skipped",
							   findings->bad, (long long) findings->bad, name),
				 errdetail("The first is in partition %d at offset " INT64_FORMAT ": %s.",
						   findings->partition, findings->offset,
						   findings->error.message),
				 findings->error.hint[0] ? errhint("%s", findings->error.hint) : 0));
}

void
tm_stream_findings_report_absent(const StreamFindings *findings, const char *name,
								 const StreamDecoder *decoder,
								 const StreamMember *members)
{
	char	   *absent;

	if (findings->values == 0 ||
		(!findings->finished && findings->messages < MIN_JUDGED))
		return;
	absent = tm_stream_decoder_describe_absent(decoder, members);
	if (absent != NULL)
		ereport(NOTICE,
				(errmsg("no message of stream \"%s\" had a member for: %s",
						name, absent),
				 errhint("Names match exactly; the column option \"field\" gives another one.")));
}
