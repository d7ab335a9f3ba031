package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func sample() *report {
	took := func(seconds ...float64) (out []times) {
		for _, s := range seconds {
			out = append(out, times{Seconds: s, Phases: []phase{{Name: "all", End: s, Times: 1}}})
		}
		return out
	}
	changed := func(seconds, start, gap float64) []change {
		return []change{{times: took(seconds)[0], ContainerStart: start, Containers: 2, MedianGap: 0.5, P95Gap: 0.6, LongestGap: gap}}
	}
	return &report{
		Changes: changesReport{
			AddOrganization: changed(6.5, 2, 0.7), RemoveOrganization: changed(3, 0, 0.7), AddConsenter: changed(9, 1, 0.9), RemoveConsenter: changed(4, 0, 0.8),
			Roll: changed(31, 3, 8.25), Load: []loadReport{{Seconds: 60, Rate: 24.9, Acknowledged: 1494}}, Election: [2]float64{5, 9.5},
		},
		Upgrades: upgradesReport{
			Direct: took(4, 5, 4.5), Terraform: []times{{Seconds: 6, Phases: []phase{{Name: "start and plan", End: 0.6}, {Name: "fabric_chaincode", Begin: 0.75, End: 6}}}},
			Plan: []float64{0.9, 1}, PlanMore: []float64{1.25, 1.35},
		},
		Large: largeReport{Containers: 56, Apply: took(40), PlanOrganization: []float64{2.5}, PlanConsenter: []float64{2}, PlanBatch: []float64{1}, Destroy: []float64{8}},
		Began: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Settings: "3 runs", LoadBefore: "0.10", LoadAfter: "0.90",
		Machine:   machine{Cores: 2, MemoryBytes: 24 << 30, System: "Debian", Engine: "20.10", Terraform: "1.11"},
		Direct:    directReport{Up: took(10, 11, 12), Down: took(2), Dismantle: took(5)},
		Terraform: terraformReport{Apply: took(12, 14, 13), Plan: []float64{0.9, 1.1}, Destroy: took(6)},
		Provider: providerReport{
			BinaryBytes: 25_000_000, PeakBytes: []int64{40_000_000, 60_000_000}, StartSeconds: []float64{0.1}, Starts: []int{2, 3},
			PlanCalls: [][]call{{{Method: "ReadResource", Type: "fabric_ca", Begin: 1, End: 1.2}, {Method: "ReadResource", Type: "fabric_ca", Begin: 1.1, End: 1.5}}},
		},
	}
}

func TestTargets(t *testing.T) {
	all := func(*report) {}
	for _, tt := range []struct {
		name   string
		change func(*report)
		missed []string
	}{
		{"all but the shortcut", all, []string{"destroy, times the removal of everything at once"}},
		{"slow apply", func(r *report) { r.Terraform.Apply = []times{{Seconds: 15}} }, []string{"apply, times the direct bring-up", "apply", "destroy, times the removal of everything at once"}},
		{"slow provider", func(r *report) { r.Provider.StartSeconds = []float64{0.2} }, []string{"of which the provider", "destroy, times the removal of everything at once"}},
		{"quick destroy", func(r *report) { r.Terraform.Destroy = []times{{Seconds: 2.9}} }, nil},
		{"slow changes", func(r *report) {
			r.Changes.AddOrganization[0].ContainerStart, r.Changes.AddConsenter[0].Seconds, r.Large.PlanConsenter = 1.4, 10.1, []float64{5.1}
		}, []string{
			"destroy, times the removal of everything at once", "organization with a peer added to a live channel, beyond container start", "consenter added",
			"plan of a change, the slowest of three, 56 containers",
		}},
		{"slow upgrades", func(r *report) {
			r.Upgrades.Terraform[0].Phases[1].End, r.Upgrades.PlanMore = 6.2, []float64{1.5}
		}, []string{
			"destroy, times the removal of everything at once", "upgrade of a chaincode on 4 peers of 2 organizations, times the direct calls", "each further chaincode in an empty plan",
		}},
		{"only changes", func(r *report) { r.Terraform.Apply = nil }, nil},
		{"large binary", func(r *report) { r.Provider.BinaryBytes = 30_100_000 }, []string{"destroy, times the removal of everything at once", "provider binary, stripped"}},
		{"memory not known", func(r *report) { r.Provider.PeakBytes = []int64{0} }, []string{"destroy, times the removal of everything at once"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := sample()
			tt.change(r)
			if got := r.missed(); !slices.Equal(got, tt.missed) {
				t.Errorf("missed %q, want %q", got, tt.missed)
			}
		})
	}
}

func TestReportSaysTheFigures(t *testing.T) {
	r := sample()
	text, written := r.text(), markdown(r.all())
	for _, want := range []string{"11.0 [10.0-12.0]", "13.0 [12.0-14.0]", "1.18", "0.80 [0.80-0.80] s", "25.0 MB", "60 MB", "load average 0.10 before", "52.0 [50.2-58.8]", "ReadResource fabric_ca",
		"4.5 [4.5-4.5] s", "8.25 [8.25-8.25]", "1494 were acknowledged in all", "after 5s to 9.5s without one", "A network of 56 containers", "5.25 [5.25-5.25]", "1.17", "70 ms", "2.50 [2.50-2.50] s"} {
		if !strings.Contains(strings.ReplaceAll(text, "\n", " "), want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
		if !strings.Contains(strings.ReplaceAll(written, "\n", " "), want) {
			t.Errorf("the Markdown lacks %q:\n%s", want, written)
		}
	}
	for _, table := range r.tables() {
		for _, row := range table.rows {
			if len(row) != len(table.header) {
				t.Errorf("%s: the row %q has not the columns %q", table.title, row, table.header)
			}
		}
	}
}

func TestReplaceTables(t *testing.T) {
	file := filepath.Join(t.TempDir(), "benchmarks.md")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# Benchmarks\n\n" + works.begin() + "\nold\n" + works.end() + "\n\nMore.\n")
	if err := works.replaceTables(file, "new\n"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := "# Benchmarks\n\n" + works.begin() + "\nnew\n" + works.end() + "\n\nMore.\n"; string(text) != want {
		t.Errorf("got %q, want %q", text, want)
	}
	write("no place")
	if err := works.replaceTables(file, "new\n"); err == nil {
		t.Error("a document without a place for the tables was accepted")
	}
}

func TestBatchOverride(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, ""},
		{[]string{"-max-messages", "1"}, "resource \"fabric_channel\" \"trade\" {\n  max_message_count = 1\n}\n"},
		{[]string{"-batch-timeout", "200ms"}, "resource \"fabric_channel\" \"trade\" {\n  batch_timeout = \"200ms\"\n}\n"},
	} {
		s, _, err := parse(tt.args, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := batchOverride(s); got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.args, got, tt.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, args := range [][]string{{"-runs", "0", "-changes", "0", "-large", "0", "-upgrades", "0", "-packings", "0"}, {"-runs", "-1"}, {"-plans", "0"}, {"-orderers", "4"}, {"-only", "burnt"}, {"quickstart"}, {"-unknown"}} {
		if _, _, err := parse(args, &strings.Builder{}); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}
