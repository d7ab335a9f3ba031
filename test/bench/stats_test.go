package main

import (
	"math"
	"testing"
)

func TestSummarize(t *testing.T) {
	for _, tt := range []struct {
		name   string
		values []float64
		want   summary
		text   string
	}{
		{"none", nil, summary{}, "0.0 [0.0-0.0]"},
		{"one", []float64{2}, summary{2, 2, 2}, "2.0 [2.0-2.0]"},
		{"odd", []float64{9, 1, 2}, summary{2, 1, 9}, "2.0 [1.0-9.0]"},
		{"even", []float64{4, 1, 3, 2}, summary{2.5, 1, 4}, "2.5 [1.0-4.0]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := summarize(tt.values)
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if text := got.format(1); text != tt.text {
				t.Errorf("got %q, want %q", text, tt.text)
			}
		})
	}
}

func TestUnionCountsOverlapsOnce(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spans [][2]float64
		want  float64
	}{
		{"none", nil, 0},
		{"apart", [][2]float64{{5, 6}, {1, 2}}, 2},
		{"overlapping", [][2]float64{{1, 3}, {2, 5}}, 4},
		{"one within another", [][2]float64{{1, 10}, {2, 3}, {4, 5}}, 9},
		{"touching", [][2]float64{{1, 2}, {2, 3}}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := union(tt.spans); math.Abs(got-tt.want) > 1e-9 {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
