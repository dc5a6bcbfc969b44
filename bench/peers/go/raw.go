package main

import (
	"bytes"
	"context"
	"encoding/binary"

	"github.com/buger/jsonparser"
	"github.com/jackc/pgx/v5"
)

// rawBatch holds rows in the binary format of COPY.
type rawBatch struct {
	data    []byte
	scratch []byte
}

const (
	copyHeader = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	// microseconds from 1970 to 2000, where PostgreSQL's time begins
	postgresEpoch = 946684800 * 1000000
)

func (r *rawBatch) members() int { return allMembers }

func (r *rawBatch) number(n int64) {
	r.data = binary.BigEndian.AppendUint32(r.data, 8)
	r.data = binary.BigEndian.AppendUint64(r.data, uint64(n))
}

func (r *rawBatch) text(s []byte) error {
	if bytes.IndexByte(s, '\\') >= 0 {
		var err error
		if r.scratch, err = jsonparser.Unescape(s, r.scratch[:cap(r.scratch)]); err != nil {
			return err
		}
		s = r.scratch
	}
	r.data = binary.BigEndian.AppendUint32(r.data, uint32(len(s)))
	r.data = append(r.data, s...)
	return nil
}

func (r *rawBatch) add(b *bid) error {
	if len(r.data) == 0 {
		r.data = append(r.data, copyHeader...)
	}
	r.data = binary.BigEndian.AppendUint16(r.data, allMembers)
	r.number(b.auction)
	r.number(b.bidder)
	r.number(b.price)
	if err := r.text(b.channel); err != nil {
		return err
	}
	if err := r.text(b.url); err != nil {
		return err
	}
	r.number(b.micros - postgresEpoch)
	return r.text(b.extra)
}

func (r *rawBatch) write(ctx context.Context, tx pgx.Tx) error {
	r.data = binary.BigEndian.AppendUint16(r.data, 0xffff)
	_, err := tx.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(r.data),
		"COPY bid (auction, bidder, price, channel, url, date_time, extra) FROM STDIN (FORMAT binary)")
	return err
}

func (r *rawBatch) reset() { r.data = r.data[:0] }
