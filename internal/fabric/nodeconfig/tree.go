package nodeconfig

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// tree is a configuration by Fabric's spelling. Paths are dotted. The reading
// methods say false when a key is not there or has another type.
type tree map[string]any

func (t tree) at(path string) (any, bool) {
	var node any = map[string]any(t)
	for name := range strings.SplitSeq(path, ".") {
		object, ok := node.(map[string]any)
		if !ok {
			return nil, false
		}
		if node, ok = object[name]; !ok {
			return nil, false
		}
	}
	return node, node != nil
}

func (t tree) put(path string, value any) {
	object := map[string]any(t)
	names := strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		next, ok := object[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			object[name] = next
		}
		object = next
	}
	object[names[len(names)-1]] = value
}

func (t tree) boolean(path string) (value, ok bool) {
	v, _ := t.at(path)
	value, ok = v.(bool)
	return value, ok
}

func (t tree) text(path string) (string, bool) {
	v, _ := t.at(path)
	s, ok := v.(string)
	return s, ok
}

func (t tree) integer(path string) (int64, bool) {
	v, _ := t.at(path)
	return integer(v)
}

func (t tree) number(path string) (float64, bool) {
	v, _ := t.at(path)
	return number(v)
}

func (t tree) duration(path string) (time.Duration, bool) {
	s, _ := t.text(path)
	d, err := time.ParseDuration(s)
	return d, err == nil
}

// objects are the elements of a list of objects.
func (t tree) objects(path string) []tree {
	v, _ := t.at(path)
	list, _ := v.([]any)
	out := make([]tree, 0, len(list))
	for _, element := range list {
		object, _ := element.(map[string]any)
		out = append(out, object)
	}
	return out
}

// merge lays over on top of t: objects are merged, everything else is replaced.
func (t tree) merge(over map[string]any) {
	for name, value := range over {
		if object, ok := value.(map[string]any); ok {
			if below, ok := t[name].(map[string]any); ok {
				tree(below).merge(object)
				continue
			}
		}
		t[name] = clone(value)
	}
}

func clone(value any) any {
	switch value := value.(type) {
	case map[string]any:
		out := make(map[string]any, len(value))
		for name, child := range value {
			out[name] = clone(child)
		}
		return out
	case []any:
		out := make([]any, len(value))
		for i, element := range value {
			out[i] = clone(element)
		}
		return out
	default:
		return value
	}
}

// prune takes away nulls and the objects that are then empty. Fabric reads an
// absent key as it reads a null.
func (t tree) prune() {
	for _, name := range slices.Collect(maps.Keys(t)) {
		switch value := t[name].(type) {
		case nil:
			delete(t, name)
		case map[string]any:
			tree(value).prune()
			if len(value) == 0 {
				delete(t, name)
			}
		case []any:
			for _, element := range value {
				if object, ok := element.(map[string]any); ok {
					tree(object).prune()
				}
			}
		}
	}
}

// open are the defaults of a release without the keys that the provider keeps
// to itself: nothing of the sample's identity, paths and addresses survives.
func (s *schema) open() tree {
	var walk func(*key, map[string]any) map[string]any
	walk = func(at *key, defaults map[string]any) map[string]any {
		out := map[string]any{}
		for name, value := range defaults {
			k := at.children[strings.ToLower(name)]
			switch {
			case k.reserved != "":
			case k.typ == typeSection:
				object, _ := value.(map[string]any)
				out[name] = walk(k, object)
			default:
				out[name] = clone(value)
			}
		}
		return out
	}
	return walk(s.root, s.defaults)
}
