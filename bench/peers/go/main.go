// A hand-written consumer, the strongest rival of bench/compare: it reads a
// topic of Nexmark bids, sums them up in memory per auction and 10 s window,
// and adds the sums of a batch to a table together with the offsets, in one
// transaction.  With -mode store it stores the bids as they are.
//
// Exactly once: the offsets that PostgreSQL has decide where it starts, and a
// transaction that does not find the offsets it began at fails, so that not
// even two processes at once count a bid twice.
//
// For the one who measures, each commit prints how many bids are in the table.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"
)

type options struct {
	brokers string
	topic   string
	mode    string
	batch   int
	linger  time.Duration
}

// A batch collects bids until it is written.
type batch interface {
	members() int // of bidPaths, that it needs
	add(b *bid) error
	write(ctx context.Context, tx pgx.Tx) error
	reset()
}

// work is a batch with the part of the log that it covers.
type work struct {
	batch
	rows int
	next map[int32]int64
}

func newWork(b batch) *work {
	return &work{batch: b, next: map[int32]int64{}}
}

func (w *work) add(r *kgo.Record, b *bid) error {
	if err := b.parse(r.Value, w.members()); err != nil {
		return fmt.Errorf("partition %d, offset %d: %w", r.Partition, r.Offset, err)
	}
	w.rows++
	w.next[r.Partition] = r.Offset + 1
	return w.batch.add(b)
}

func (w *work) clear() {
	w.rows = 0
	for p := range w.next {
		delete(w.next, p)
	}
	w.batch.reset()
}

// consume fills batches from the log and hands them to the writer, until ctx
// ends.  free has the batches that can be filled.
func consume(ctx context.Context, client *kgo.Client, o options, free <-chan *work, full chan<- *work) error {
	defer close(full)
	var b bid
	for {
		var w *work
		select {
		case w = <-free:
		case <-ctx.Done():
			return nil
		}
		deadline := time.Time{}
		for w.rows < o.batch && (w.rows == 0 || time.Now().Before(deadline)) {
			wait, cancel := ctx, context.CancelFunc(func() {})
			if w.rows > 0 {
				wait, cancel = context.WithDeadline(ctx, deadline)
			}
			fetches := client.PollRecords(wait, o.batch-w.rows)
			cancel()
			if ctx.Err() != nil {
				return nil
			}
			for _, e := range fetches.Errors() {
				if e.Err != context.DeadlineExceeded {
					return e.Err
				}
			}
			if w.rows == 0 {
				deadline = time.Now().Add(o.linger)
			}
			for i := fetches.RecordIter(); !i.Done(); {
				if err := w.add(i.Next(), &b); err != nil {
					return err
				}
			}
		}
		full <- w
	}
}

func run(ctx context.Context, o options) error {
	conn, err := pgx.Connect(ctx, "")
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(o.brokers, ",")...),
		kgo.FetchMaxWait(100*time.Millisecond),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return err
	}
	defer client.Close()
	s := &store{conn: conn}
	if err := s.open(ctx, client, o.topic); err != nil {
		return err
	}
	client.AddConsumePartitions(s.assignment(o.topic))

	// one batch is filled while the other is written
	free, full := make(chan *work, 2), make(chan *work)
	for i := 0; i < cap(free); i++ {
		if o.mode == "store" {
			free <- newWork(&rawBatch{})
		} else {
			free <- newWork(newSums())
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	go func() { failed <- consume(ctx, client, o, free, full) }()

	out, total := bufio.NewWriter(os.Stdout), 0
	for w := range full {
		if err := s.commit(ctx, w); err != nil {
			return err
		}
		total += w.rows
		w.clear()
		free <- w
		fmt.Fprintln(out, total)
		out.Flush()
	}
	return <-failed
}

func main() {
	var o options
	flag.StringVar(&o.brokers, "brokers", "127.0.0.1:9092", "bootstrap servers")
	flag.StringVar(&o.topic, "topic", "bid", "topic with bids as JSON")
	flag.StringVar(&o.mode, "mode", "aggregate", "aggregate or store")
	flag.IntVar(&o.batch, "batch", 10000, "bids in a transaction, at most")
	flag.DurationVar(&o.linger, "linger", 100*time.Millisecond, "how long a batch that is not full waits")
	flag.Parse()
	if o.mode != "aggregate" && o.mode != "store" || o.batch < 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}
