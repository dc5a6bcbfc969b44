package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/buger/jsonparser"
)

// bid is a message; the bytes belong to the message and may have escapes.
type bid struct {
	auction, bidder, price int64
	channel, url, extra    []byte
	micros                 int64 // since 1970
	found                  int
	err                    error
}

// bidPaths begins with what the sums need.
var bidPaths = [][]string{
	{"auction"}, {"price"}, {"date_time"}, {"bidder"}, {"channel"}, {"url"}, {"extra"},
}

const (
	sumMembers = 3
	allMembers = 7
)

// parse reads the first so many members of bidPaths, and no further than the
// last of them.
func (b *bid) parse(message []byte, members int) error {
	b.found, b.err = 0, nil
	jsonparser.EachKey(message, b.member, bidPaths[:members]...)
	if b.err == nil && b.found != members {
		b.err = errors.New("not a bid")
	}
	return b.err
}

func (b *bid) member(path int, value []byte, kind jsonparser.ValueType, err error) {
	b.found++
	if err == nil {
		switch path {
		case 0:
			b.auction, err = jsonparser.ParseInt(value)
		case 1:
			b.price, err = jsonparser.ParseInt(value)
		case 2:
			b.micros, err = parseTime(value)
		case 3:
			b.bidder, err = jsonparser.ParseInt(value)
		case 4:
			b.channel = value
		case 5:
			b.url = value
		case 6:
			b.extra = value
		}
	}
	if err != nil {
		b.err = fmt.Errorf("%s: %w", bidPaths[path][0], err)
	}
}

// parseTime reads 2015-07-15T00:00:00.123Z without going through time.Parse,
// which takes anything else.
func parseTime(s []byte) (int64, error) {
	if len(s) == 24 && s[4] == '-' && s[7] == '-' && s[10] == 'T' && s[13] == ':' &&
		s[16] == ':' && s[19] == '.' && s[23] == 'Z' {
		good := true
		number := func(from, to int) int64 {
			n := int64(0)
			for _, c := range s[from:to] {
				good = good && c >= '0' && c <= '9'
				n = n*10 + int64(c-'0')
			}
			return n
		}
		seconds := daysBefore(number(0, 4), number(5, 7), number(8, 10))*86400 +
			number(11, 13)*3600 + number(14, 16)*60 + number(17, 19)
		if good {
			return seconds*1000000 + number(20, 23)*1000, nil
		}
	}
	t, err := time.Parse(time.RFC3339Nano, string(s))
	return t.UnixMicro(), err
}

// daysBefore counts the days from 1970-01-01 to a date: years that begin in
// March have their leap day at the end.
func daysBefore(year, month, day int64) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	return 365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 719469
}
