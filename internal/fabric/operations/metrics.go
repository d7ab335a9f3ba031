package operations

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
)

// Metrics are the samples that a node gave, in its order.
type Metrics []Sample

// Sample is one number that a node gave.
type Sample struct {
	// Name is the metric, for example consensus_etcdraft_is_leader.
	Name   string
	Labels map[string]string
	Value  float64
}

// Value gives the sample of that name with exactly these labels.
func (m Metrics) Value(name string, labels map[string]string) (float64, bool) {
	for _, s := range m {
		if s.Name == name && maps.Equal(s.Labels, labels) {
			return s.Value, true
		}
	}
	return 0, false
}

// Parse reads the text format of Prometheus. Comments, and the times behind samples, are left out.
func Parse(text string) (Metrics, error) {
	var out Metrics
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		sample, err := parseSample(line)
		if err != nil {
			return nil, fmt.Errorf("line %d of the metrics: %w", number, err)
		}
		out = append(out, sample)
	}
	return out, nil
}

func parseSample(line string) (Sample, error) {
	end := strings.IndexAny(line, "{ \t")
	if end <= 0 {
		return Sample{}, errors.New("no metric name with a value")
	}
	sample, rest := Sample{Name: line[:end], Labels: map[string]string{}}, line[end:]
	if strings.HasPrefix(rest, "{") {
		var err error
		if rest, err = parseLabels(rest[1:], sample.Labels); err != nil {
			return Sample{}, err
		}
	}
	fields := strings.Fields(rest)
	if len(fields) == 0 || len(fields) > 2 {
		return Sample{}, errors.New("not a value, with or without a time")
	}
	var err error
	if sample.Value, err = strconv.ParseFloat(fields[0], 64); err != nil {
		return Sample{}, fmt.Errorf("not a number: %w", err)
	}
	return sample, nil
}

// parseLabels reads name="value" pairs up to the closing brace, and gives what follows.
func parseLabels(text string, into map[string]string) (rest string, err error) {
	for {
		text = strings.TrimLeft(text, " \t,")
		if after, closed := strings.CutPrefix(text, "}"); closed {
			return after, nil
		}
		name, after, ok := strings.Cut(text, "=")
		after = strings.TrimLeft(after, " \t")
		if !ok || !strings.HasPrefix(after, `"`) {
			return "", errors.New("labels without an end")
		}
		value, left, err := parseQuoted(after[1:])
		if err != nil {
			return "", err
		}
		into[strings.TrimSpace(name)], text = value, left
	}
}

// parseQuoted reads up to the closing quotation mark, and gives what follows.
func parseQuoted(text string) (value, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return b.String(), text[i+1:], nil
		case c == '\\' && i+1 < len(text):
			i++
			if c = text[i]; c == 'n' {
				c = '\n'
			}
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errors.New("a label value without an end")
}
