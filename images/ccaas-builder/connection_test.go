package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"text/template"
)

func TestRenderConnection(t *testing.T) {
	pem := "-----BEGIN CERTIFICATE-----\nAA\"\\BB\n-----END CERTIFICATE-----\n"
	pemJSON, err := json.Marshal(map[string]string{"root": pem})
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		connection, config string
		want               map[string]any
	}{
		"no template, no config": {
			`{"address":"kv:9999","dial_timeout":"10s","tls_required":false}`, ``,
			map[string]any{"address": "kv:9999", "dial_timeout": "10s", "tls_required": false},
		},
		"peer name": {
			`{"address":"{{.peername}}-kv:9999"}`, `{"peername":"peer1-org2"}`,
			map[string]any{"address": "peer1-org2-kv:9999"},
		},
		"numbers keep their digits": {
			`{"address":"kv:{{.port}}","max":12345678901234567890}`, `{"port":20000}`,
			map[string]any{"address": "kv:20000", "max": json.Number("12345678901234567890")},
		},
		"a value of several lines": {
			`{"address":"kv:9999","tls_required":true,"root_cert":"{{.root}}"}`, string(pemJSON),
			map[string]any{"address": "kv:9999", "tls_required": true, "root_cert": pem},
		},
		"nested config and template actions": {
			`{"address":"{{with .net}}{{.host}}{{end}}:{{if eq .mode \"a\"}}1{{else}}2{{end}}"}`,
			`{"net":{"host":"kv"},"mode":"b"}`,
			map[string]any{"address": "kv:2"},
		},
		"nested fields": {
			`{"address":"kv:1","more":{"list":["{{.x}}",1,null]}}`, `{"x":"y"}`,
			map[string]any{"address": "kv:1", "more": map[string]any{"list": []any{"y", json.Number("1"), nil}}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := renderConnection([]byte(test.connection), test.config)
			if err != nil {
				t.Fatal(err)
			}
			want, err := json.Marshal(test.want)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestRenderConnectionRefuses(t *testing.T) {
	isSyntax := func(err error) bool { var e *json.SyntaxError; return errors.As(err, &e) }
	isExec := func(err error) bool { var e template.ExecError; return errors.As(err, &e) }
	isType := func(err error) bool { var e *json.UnmarshalTypeError; return errors.As(err, &e) }
	isNoAddress := func(err error) bool { return errors.Is(err, errNoAddress) }
	anyError := func(err error) bool { return err != nil }
	tests := map[string]struct {
		connection, config string
		is                 func(error) bool
	}{
		"value that the config lacks":  {`{"address":"{{.peername}}:9999"}`, `{"other":"x"}`, isExec},
		"template without config":      {`{"address":"{{.peername}}:9999"}`, ``, isExec},
		"template that does not parse": {`{"address":"{{.peername"}`, `{"peername":"x"}`, anyError},
		"template outside of a string": {`{"address":"a","tls_required":{{.tls}}}`, `{"tls":true}`, isSyntax},
		"connection is no object":      {`["a"]`, ``, isType},
		"connection is null":           {`null`, ``, anyError},
		"connection is empty":          {``, ``, anyError},
		"text after the object":        {`{"address":"a"} {}`, ``, anyError},
		"config is no object":          {`{"address":"a"}`, `"peer0"`, isType},
		"config is no JSON":            {`{"address":"a"}`, `peername=peer0`, isSyntax},
		"no address":                   {`{"dial_timeout":"10s"}`, ``, isNoAddress},
		"address rendered empty":       {`{"address":"{{.peername}}"}`, `{"peername":""}`, isNoAddress},
		"address is no string":         {`{"address":9999}`, ``, isNoAddress},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := renderConnection([]byte(test.connection), test.config)
			if !test.is(err) {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
}

func TestRenderConnectionNamesTheField(t *testing.T) {
	_, err := renderConnection([]byte(`{"address":"a","root_cert":"{{.root}}"}`), "")
	if err == nil || !strings.Contains(err.Error(), `field "root_cert"`) {
		t.Errorf("got %v, want an error that names root_cert", err)
	}
}

func FuzzRenderConnection(f *testing.F) {
	f.Add(`{"address":"{{.peername}}:9999"}`, `{"peername":"peer0"}`)
	f.Add(`{"address":"kv:{{.port}}","list":["{{.x}}",1,null,true]}`, `{"port":1e9,"x":"\n\""}`)
	f.Add(`{"address":"{{with .a}}{{index .b 0}}{{end}}"}`, `{"a":{"b":["c"]}}`)
	f.Fuzz(func(t *testing.T, connection, config string) {
		// A template can loop, recur and pad for as long as its author likes.
		// The author is the peer's own administrator, so that is no fault,
		// but it stops the fuzzer.
		for _, slow := range []string{"range", "printf", "define", "block"} {
			if strings.Contains(connection, slow) {
				t.Skip()
			}
		}
		rendered, err := renderConnection([]byte(connection), config)
		if err != nil {
			return
		}
		var details map[string]any
		if err := json.Unmarshal(rendered, &details); err != nil {
			t.Fatalf("rendered text is no JSON: %v: %s", err, rendered)
		}
		if address, _ := details["address"].(string); address == "" {
			t.Fatalf("rendered without address: %s", rendered)
		}
	})
}
