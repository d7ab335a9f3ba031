package lifecycle

import (
	"bytes"
	"strings"
	"testing"
)

func TestIndexPath(t *testing.T) {
	for name, want := range map[string]string{
		"owner.json":        "statedb/couchdb/indexes/owner.json",
		"prices/owner.json": "statedb/couchdb/collections/prices/indexes/owner.json",
		"by owner.json":     "statedb/couchdb/indexes/by owner.json",
	} {
		path, err := IndexPath(name)
		if err != nil || path != want || !indexPath.MatchString(path) {
			t.Errorf("%s is at %s, %v; want %s", name, path, err, want)
		}
		if back, ok := IndexName(path); !ok || back != name {
			t.Errorf("%s is named %s, want %s", path, back, name)
		}
	}
	for _, name := range []string{"", "owner", "owner.jsn", ".json/x", "a/b/owner.json", "/owner.json", "pri ces/owner.json", "../owner.json"} {
		if path, err := IndexPath(name); err == nil {
			t.Errorf("%q is at %s", name, path)
		}
	}
	if name, ok := IndexName("statedb/couchdb/views/owner.json"); ok {
		t.Errorf("a path of something else is named %s", name)
	}
}

func TestParseIndex(t *testing.T) {
	for given, want := range map[string]string{
		`{"index":{"fields":["owner"]}}`: `{"index":{"fields":["owner"]}}`,
		" {\n \"type\": \"json\", \"name\":\"n\",\"index\" : {\"fields\":[{\"size\":\"DESC\"}, \"owner\"]}, \"ddoc\":\"d\"}\n": `{"ddoc":"d","index":{"fields":[{"size":"DESC"},"owner"]},"name":"n","type":"json"}`,
		`{"index":{"fields":["a"],"partial_filter_selector":{"size":{"$gt":10000000000000001}}}}`:                              `{"index":{"fields":["a"],"partial_filter_selector":{"size":{"$gt":10000000000000001}}}}`,
	} {
		if got, err := ParseIndex([]byte(given)); err != nil || string(got) != want {
			t.Errorf("%s becomes %s, %v", given, got, err)
		}
	}
	for given, says := range map[string]string{
		``:                                         "no JSON object",
		`[]`:                                       "no JSON object",
		`null`:                                     "must have an object index",
		`{"index":{"fields":["a"]}}{`:              "more than one",
		`{"fields":["a"]}`:                         "no member fields; its members are index, ddoc, name, type",
		`{"index":["a"]}`:                          "must have an object index",
		`{"index":{}}`:                             "fields",
		`{"index":{"fields":[]}}`:                  "at least one field",
		`{"index":{"fields":"a"}}`:                 "list fields",
		`{"index":{"fields":[1]}}`:                 "a field must be a name",
		`{"index":{"fields":[{"size":"up"}]}}`:     `order of field size must be "asc" or "desc"`,
		`{"index":{"fields":[{"size":1}]}}`:        `order of field size`,
		`{"index":{"fields":["a"]},"ddoc":1}`:      "ddoc must be a text",
		`{"index":{"fields":["a"]},"name":null}`:   "name must be a text",
		`{"index":{"fields":["a"]},"type":"text"}`: `type must be "json"`,
		`{"index":{"fields":["a"],"selector":{}}}`: "index has no member selector",
		`{"index":{"fields":["a"]},"partial_filter_selector":1}`: "no member partial_filter_selector",
	} {
		if got, err := ParseIndex([]byte(given)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s becomes %s, %v; want an error that says %q", given, got, err, says)
		}
	}
}

// One form is one form: parsed again, it stays.
func FuzzParseIndex(f *testing.F) {
	f.Add([]byte(`{"index":{"fields":["owner",{"size":"asc"}]},"ddoc":"d","name":"n","type":"json"}`))
	f.Add([]byte(`{"index":{"fields":["a"],"partial_filter_selector":{"b":1e400}}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		once, err := ParseIndex(content)
		if err != nil {
			return
		}
		if again, err := ParseIndex(once); err != nil || !bytes.Equal(once, again) {
			t.Errorf("%s, parsed again, is %s, %v", once, again, err)
		}
	})
}
