package lifecycle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Below META-INF a package holds the CouchDB indexes of its chaincode.
const (
	indexFolder       = "statedb/couchdb/indexes/"
	collectionsFolder = "statedb/couchdb/collections/"
)

// indexName is FILE.json, or COLLECTION/FILE.json for the index of a private data collection.
var indexName = regexp.MustCompile(`^([A-Za-z0-9_-]+/)?[^/]+\.json$`)

// IndexPath gives the path below META-INF of a CouchDB index by its name, FILE.json, or
// COLLECTION/FILE.json for one of a private data collection.
func IndexPath(name string) (string, error) {
	if !indexName.MatchString(name) {
		return "", fmt.Errorf("%q is no name of an index: it must be FILE.json, or COLLECTION/FILE.json for a private data collection", name)
	}
	if collection, file, ok := strings.Cut(name, "/"); ok {
		return collectionsFolder + collection + "/indexes/" + file, nil
	}
	return indexFolder + name, nil
}

// IndexName is the reverse of IndexPath; ok is false for a path that holds no index.
func IndexName(path string) (name string, ok bool) {
	if !indexPath.MatchString(path) {
		return "", false
	}
	if rest, ok := strings.CutPrefix(path, collectionsFolder); ok {
		return strings.Replace(rest, "/indexes/", "/", 1), true
	}
	return strings.TrimPrefix(path, indexFolder), true
}

// ParseIndex checks the definition of a CouchDB index, and gives it in one form whatever its spacing
// and the order of its members. What a peer would refuse it does not refuse aloud: it writes a line in
// its log and goes on without the index.
//
// Source: internal/ccmetadata/validators.go in Fabric, and CouchDB's POST /{db}/_index, which wants
// fields and takes no other ones.
func ParseIndex(content []byte) ([]byte, error) {
	var definition map[string]any
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	if err := decoder.Decode(&definition); err != nil {
		return nil, fmt.Errorf("it is no JSON object: %w", err)
	}
	if decoder.More() {
		return nil, errors.New("it is more than one JSON object")
	}
	if err := checkMembers(definition, "the definition", "index", "ddoc", "name", "type"); err != nil {
		return nil, err
	}
	for _, name := range []string{"ddoc", "name"} {
		if value, given := definition[name]; given {
			if _, text := value.(string); !text {
				return nil, fmt.Errorf("%s must be a text", name)
			}
		}
	}
	if kind, given := definition["type"]; given && kind != "json" {
		return nil, errors.New(`type must be "json"`)
	}
	index, ok := definition["index"].(map[string]any)
	if !ok {
		return nil, errors.New(`it must have an object index, as in {"index":{"fields":["owner"]}}`)
	}
	if err := checkMembers(index, "index", "fields", "partial_filter_selector"); err != nil {
		return nil, err
	}
	if err := checkIndexFields(index["fields"]); err != nil {
		return nil, err
	}
	return json.Marshal(definition)
}

func checkMembers(object map[string]any, what string, known ...string) error {
	for name := range object {
		if !slices.Contains(known, name) {
			return fmt.Errorf("%s has no member %s; its members are %s", what, name, strings.Join(known, ", "))
		}
	}
	return nil
}

func checkIndexFields(value any) error {
	fields, ok := value.([]any)
	if !ok || len(fields) == 0 {
		return errors.New("index must have a list fields of at least one field")
	}
	for _, field := range fields {
		switch f := field.(type) {
		case string:
			continue
		case map[string]any:
			for name, order := range f {
				if text, _ := order.(string); !slices.Contains([]string{"asc", "desc"}, strings.ToLower(text)) {
					return fmt.Errorf(`the order of field %s must be "asc" or "desc"`, name)
				}
			}
		default:
			return errors.New(`a field must be a name, or a name with its order, as in {"size":"desc"}`)
		}
	}
	return nil
}
