package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/template"
)

// errNoAddress says that connection.json names no chaincode server. The peer
// would find out only when it first invokes the chaincode.
var errNoAddress = errors.New(`"address" is missing or empty`)

// renderConnection returns connection.json with every string value in it, at
// any depth, executed as a Go text/template whose data is config, a JSON
// object; an empty config counts as {}. Templates work on the decoded strings,
// so a value with quotes or line breaks, a PEM certificate for instance,
// cannot break the JSON around it. A template that names a value that config
// lacks is an error: "<no value>" would be dialled as a host name later.
func renderConnection(connection []byte, config string) ([]byte, error) {
	data := map[string]any{}
	if strings.TrimSpace(config) != "" {
		if err := decodeObject([]byte(config), &data); err != nil {
			return nil, fmt.Errorf("unable to parse %s: %w", configEnv, err)
		}
	}
	fields := map[string]any{}
	if err := decodeObject(connection, &fields); err != nil {
		return nil, err
	}
	rendered, err := renderValue(fields, data)
	if err != nil {
		return nil, err
	}
	if address, _ := rendered.(map[string]any)["address"].(string); address == "" {
		return nil, errNoAddress
	}
	return json.Marshal(rendered)
}

// decodeObject reads exactly one JSON object from text into the map at into.
// Numbers keep their digits: a port must not come out as 1e+04.
func decodeObject(text []byte, into *map[string]any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if *into == nil {
		return errors.New("expected a JSON object, found null")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("unexpected text after the JSON object")
	}
	return nil
}

// renderValue returns value, as decoded from JSON, with its strings executed
// as templates over data.
func renderValue(value any, data map[string]any) (any, error) {
	switch v := value.(type) {
	case string:
		return renderString(v, data)
	case map[string]any:
		for name, field := range v {
			rendered, err := renderValue(field, data)
			if err != nil {
				return nil, fmt.Errorf("field %q: %w", name, err)
			}
			v[name] = rendered
		}
		return v, nil
	case []any:
		for i, element := range v {
			rendered, err := renderValue(element, data)
			if err != nil {
				return nil, fmt.Errorf("element %d: %w", i, err)
			}
			v[i] = rendered
		}
		return v, nil
	default:
		return value, nil
	}
}

func renderString(text string, data map[string]any) (string, error) {
	parsed, err := template.New(connectionFile).Option("missingkey=error").Parse(text)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	if err := parsed.Execute(&out, data); err != nil {
		return "", err
	}
	return out.String(), nil
}
