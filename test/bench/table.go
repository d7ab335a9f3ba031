package main

import (
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
)

// table is a part of the report.
type table struct {
	title  string
	header []string
	rows   [][]string
	note   string
}

// text gives all tables for a terminal.
func (r *report) text() string {
	var out strings.Builder
	for _, t := range r.all() {
		fmt.Fprintf(&out, "\n%s\n%s\n", t.title, strings.Repeat("-", len(t.title)))
		columns := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
		for _, row := range append([][]string{t.header}, t.rows...) {
			fmt.Fprintln(columns, strings.ReplaceAll(strings.Join(row, "\t"), "`", ""))
		}
		_ = columns.Flush() // a strings.Builder never fails
		if t.note != "" {
			fmt.Fprintf(&out, "%s\n", wrap(t.note, 110))
		}
	}
	return out.String()
}

// markdown gives tables for docs/benchmarks.md.
func markdown(tables []table) string {
	var out strings.Builder
	for i, t := range tables {
		if i > 0 {
			out.WriteString("\n")
		}
		fmt.Fprintf(&out, "### %s\n\n", t.title)
		fmt.Fprintf(&out, "| %s |\n|%s\n", strings.Join(t.header, " | "), strings.Repeat("---|", len(t.header)))
		for _, row := range t.rows {
			fmt.Fprintf(&out, "| %s |\n", strings.Join(row, " | "))
		}
		if t.note != "" {
			fmt.Fprintf(&out, "\n%s\n", wrap(t.note, 120))
		}
	}
	return out.String()
}

// wrap breaks a text into lines.
func wrap(text string, width int) string {
	var out strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case column == 0:
		case column+1+len(word) > width:
			out.WriteString("\n")
			column = 0
		default:
			out.WriteString(" ")
			column++
		}
		out.WriteString(word)
		column += len(word)
	}
	return out.String()
}

// part is a part of a document that tables are written to.
type part string

// works is what is measured of a network that works.
const works part = "bench"

// fails is what is measured of one with so many ordering nodes, which fail.
func fails(orderers int) part { return part(fmt.Sprintf("bench of faults, %d orderers", orderers)) }

// The tables of a part lie between these lines.
func (p part) begin() string { return "<!-- " + string(p) + ": begin -->" }
func (p part) end() string   { return "<!-- " + string(p) + ": end -->" }

// replaceTables puts the tables where the document has the earlier ones.
func (p part) replaceTables(file, tables string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("unable to read the document: %w", err)
	}
	before, rest, begun := strings.Cut(string(text), p.begin())
	_, after, ended := strings.Cut(rest, p.end())
	if !begun || !ended {
		return fmt.Errorf("%s has no lines %q and %q", file, p.begin(), p.end())
	}
	text = []byte(before + p.begin() + "\n" + tables + p.end() + after)
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return fmt.Errorf("unable to write the document: %w", err)
	}
	return nil
}
