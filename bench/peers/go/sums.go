package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

const windowMicros = 10 * 1000000

type group struct {
	auction int64
	start   int64 // micros
}

// sums are the aggregates of a batch, as columns for unnest().
type sums struct {
	index    map[group]int
	starts   []time.Time
	auctions []int64
	bids     []int64
	totals   []int64
	highest  []int64
}

func newSums() *sums { return &sums{index: map[group]int{}} }

func (s *sums) members() int { return sumMembers }

func (s *sums) add(b *bid) error {
	start := b.micros - b.micros%windowMicros
	if b.micros%windowMicros < 0 {
		start -= windowMicros
	}
	g := group{b.auction, start}
	i, ok := s.index[g]
	if !ok {
		i = len(s.auctions)
		s.index[g] = i
		s.starts = append(s.starts, time.UnixMicro(start))
		s.auctions = append(s.auctions, b.auction)
		s.bids = append(s.bids, 0)
		s.totals = append(s.totals, 0)
		s.highest = append(s.highest, b.price)
	}
	s.bids[i]++
	s.totals[i] += b.price
	if b.price > s.highest[i] {
		s.highest[i] = b.price
	}
	return nil
}

func (s *sums) write(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO result AS r (window_start, auction, bids, total, highest)
		SELECT * FROM unnest($1::timestamptz[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
		ON CONFLICT (auction, window_start) DO UPDATE
		SET bids = r.bids + excluded.bids, total = r.total + excluded.total,
		    highest = greatest(r.highest, excluded.highest)`,
		s.starts, s.auctions, s.bids, s.totals, s.highest)
	return err
}

func (s *sums) reset() {
	for g := range s.index {
		delete(s.index, g)
	}
	s.starts, s.auctions = s.starts[:0], s.auctions[:0]
	s.bids, s.totals, s.highest = s.bids[:0], s.totals[:0], s.highest[:0]
}
