package main

import (
	"cmp"
	"fmt"
	"slices"
)

// summary is what is said of several measurements of one thing.
type summary struct{ Median, Least, Most float64 }

func summarize(values []float64) summary {
	if len(values) == 0 {
		return summary{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	s := summary{Median: sorted[middle], Least: sorted[0], Most: sorted[len(sorted)-1]}
	if len(sorted)%2 == 0 {
		s.Median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return s
}

// format writes "11.6 [11.4-12.0]".
func (s summary) format(decimals int) string {
	return fmt.Sprintf("%.*f [%.*f-%.*f]", decimals, s.Median, decimals, s.Least, decimals, s.Most)
}

// union is the length that spans cover together.
func union(spans [][2]float64) float64 {
	sorted := slices.SortedFunc(slices.Values(spans), func(a, b [2]float64) int { return cmp.Compare(a[0], b[0]) })
	covered := 0.0
	for i := 0; i < len(sorted); {
		begin, end := sorted[i][0], sorted[i][1]
		for i++; i < len(sorted) && sorted[i][0] <= end; i++ {
			end = max(end, sorted[i][1])
		}
		covered += end - begin
	}
	return covered
}

func last[T any](values []T) T {
	var none T
	if len(values) == 0 {
		return none
	}
	return values[len(values)-1]
}
