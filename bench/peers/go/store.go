package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// store is the connection and the offsets that its last transaction left.
type store struct {
	conn *pgx.Conn
	next map[int32]int64
}

func countPartitions(ctx context.Context, client *kgo.Client, topic string) (int, error) {
	request := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = kmsg.StringPtr(topic)
	request.Topics = append(request.Topics, t)
	answer, err := request.RequestWith(ctx, client)
	if err != nil {
		return 0, err
	}
	if len(answer.Topics) != 1 || len(answer.Topics[0].Partitions) == 0 {
		return 0, fmt.Errorf("topic %q: no such topic", topic)
	}
	return len(answer.Topics[0].Partitions), nil
}

// open reads the offsets to go on at; a partition without any begins at 0.
func (s *store) open(ctx context.Context, client *kgo.Client, topic string) error {
	partitions, err := countPartitions(ctx, client, topic)
	if err != nil {
		return err
	}
	_, err = s.conn.Exec(ctx, `
		CREATE TABLE IF NOT EXISTS consumed (
		    part int PRIMARY KEY, next_offset bigint NOT NULL) WITH (fillfactor = 20)`)
	if err == nil {
		_, err = s.conn.Exec(ctx, `INSERT INTO consumed SELECT p, 0 FROM generate_series(0, $1::int - 1) AS p
			ON CONFLICT DO NOTHING`, partitions)
	}
	if err != nil {
		return err
	}
	rows, err := s.conn.Query(ctx, "SELECT part, next_offset FROM consumed")
	if err != nil {
		return err
	}
	s.next = map[int32]int64{}
	var part int32
	var next int64
	_, err = pgx.ForEachRow(rows, []any{&part, &next}, func() error {
		s.next[part] = next
		return nil
	})
	return err
}

func (s *store) assignment(topic string) map[string]map[int32]kgo.Offset {
	offsets := map[int32]kgo.Offset{}
	for p, next := range s.next {
		offsets[p] = kgo.NewOffset().At(next)
	}
	return map[string]map[int32]kgo.Offset{topic: offsets}
}

// commit writes a batch and moves the offsets over it, both or none.
func (s *store) commit(ctx context.Context, w *work) error {
	var parts []int32
	var from, to []int64
	for p, next := range w.next {
		parts, from, to = append(parts, p), append(from, s.next[p]), append(to, next)
	}
	tx, err := s.conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.Background())
	moved, err := tx.Exec(ctx, `
		UPDATE consumed AS c SET next_offset = n.target
		FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS n (part, since, target)
		WHERE c.part = n.part AND c.next_offset = n.since`, parts, from, to)
	if err != nil {
		return err
	}
	if int(moved.RowsAffected()) != len(parts) {
		return errors.New("somebody else consumes this topic into the same table")
	}
	if err := w.write(ctx, tx); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	for p, next := range w.next {
		s.next[p] = next
	}
	return nil
}
