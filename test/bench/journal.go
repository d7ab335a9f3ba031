package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
)

// journal is what the nodes of a network log of leaders and blocks, followed while they run, go and come.
type journal struct {
	api *client.Client
	// done is when nobody follows any more.
	done sync.WaitGroup

	// mu guards the diaries, by container.
	mu      sync.Mutex
	diaries map[string]*diary
}

// diary is what one node has logged, in its order. Moments are the engine's.
type diary struct {
	name        string
	leaderships []leadership
	// cut are the blocks that it made as the leader, blocks those that it wrote.
	cut, blocks []block
	// started is when the container was last started here: what was logged before says nothing of now.
	started time.Time
}

// leadership is what an ordering node knows of its leader.
type leadership struct {
	at           time.Time
	node, leader string
	lost         bool
	term         int
}

// block is one that a leader cuts, or that an ordering node or a peer writes to its ledger.
type block struct {
	at     time.Time
	number uint64
}

var (
	// raftLine is what an ordering node logs of leaders.
	raftLine = regexp.MustCompile(`raft\.node: (\w+) (elected|lost|changed) leader (?:from \w+ to )?(\w+) at term (\d+).*channel=trade`)
	// cutLine is what a leader logs when it has cut a block, which it then proposes to the others.
	cutLine = regexp.MustCompile(`Created block \[(\d+)\], there are \d+ blocks in flight.*channel=trade`)
	// blockLine is what an ordering node logs when it writes a block, or a peer when it has committed one.
	blockLine = regexp.MustCompile(`Writing block \[(\d+)\] \(Raft index: \d+\) to ledger.*channel=trade|\[trade\] Committed block \[(\d+)\] with`)
)

// read takes what was logged, if it is of leaders or blocks.
func (d *diary) read(at time.Time, text string) {
	if m := raftLine.FindStringSubmatch(text); m != nil {
		term, _ := strconv.Atoi(m[4]) // digits
		d.leaderships = append(d.leaderships, leadership{at: at, node: m[1], leader: m[3], lost: m[2] == "lost", term: term})
	}
	if m := cutLine.FindStringSubmatch(text); m != nil {
		number, _ := strconv.ParseUint(m[1], 10, 64) // digits
		d.cut = append(d.cut, block{at: at, number: number})
	}
	if m := blockLine.FindStringSubmatch(text); m != nil {
		number, _ := strconv.ParseUint(m[1]+m[2], 10, 64) // digits
		d.blocks = append(d.blocks, block{at: at, number: number})
	}
}

// highest is the highest of some blocks until a moment; 0 when there is none.
func highest(blocks []block, until time.Time) uint64 {
	var out uint64
	for _, b := range blocks {
		if !b.at.After(until) {
			out = max(out, b.number)
		}
	}
	return out
}

// reached is when the node first wrote a block at or above a number; the zero time when it has none.
func (d *diary) reached(number uint64) time.Time {
	for _, b := range d.blocks {
		if b.number >= number {
			return b.at
		}
	}
	return time.Time{}
}

// top is the highest block that any of the nodes wrote until a moment.
func top(nodes []*diary, until time.Time) uint64 {
	var out uint64
	for _, d := range nodes {
		out = max(out, highest(d.blocks, until))
	}
	return out
}

// follow reads the log of a container, until ctx ends, through all its ends and starts.
func (j *journal) follow(ctx context.Context, id, name string) {
	d := &diary{name: name}
	j.mu.Lock()
	if j.diaries == nil {
		j.diaries = map[string]*diary{}
	}
	j.diaries[id] = d
	j.mu.Unlock()
	j.done.Go(func() {
		var seen time.Time
		_ = await(ctx, func() error { // it ends with ctx
			var err error
			seen, err = j.listen(ctx, id, d, seen)
			return fmt.Errorf("the log of %s ended: %w", name, err)
		})
	})
}

// listen reads what is logged after a moment, until the container ends, and gives the last line's.
func (j *journal) listen(ctx context.Context, id string, d *diary, since time.Time) (seen time.Time, err error) {
	seen = since
	options := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: true}
	if !since.IsZero() {
		options.Since = fmt.Sprintf("%d.%09d", since.Unix(), since.Nanosecond())
	}
	stream, err := j.api.ContainerLogs(ctx, id, options)
	if err != nil {
		return seen, err
	}
	defer stream.Close()
	text, pipe := io.Pipe()
	defer text.Close()
	go func() {
		_, err := stdcopy.StdCopy(pipe, pipe, stream)
		_ = pipe.CloseWithError(err) // never fails
	}()
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		stamp, line, _ := strings.Cut(lines.Text(), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			return seen, err
		}
		if !at.After(since) {
			continue
		}
		if at.After(seen) { // the two streams of a container need not be in order
			seen = at
		}
		j.mu.Lock()
		d.read(at, line)
		j.mu.Unlock()
	}
	return seen, lines.Err()
}

// look gives copies of the diaries of some containers, in their order.
func (j *journal) look(ids []string) []*diary {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []*diary
	for _, id := range ids {
		d := j.diaries[id]
		out = append(out, &diary{name: d.name, leaderships: slices.Clip(d.leaderships), cut: slices.Clip(d.cut), blocks: slices.Clip(d.blocks), started: d.started})
	}
	return out
}

// restart notes that a container is started now.
func (j *journal) restart(id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.diaries[id].started = time.Now()
}
