package nodeconfig

import (
	"fmt"
	"maps"
	"math"
	"net"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Overlay is a part of core.yaml or orderer.yaml that the user sets: nested
// objects (map[string]any) with values of bool, integer and float types,
// string and []any. nil means not set. A null object, or an overlay that is
// nil, changes nothing.
type Overlay = map[string]any

// reading is what an overlay says once it is checked: its valid values by
// Fabric's spelling, and what is wrong with the others.
type reading struct {
	schema   *schema
	tree     map[string]any
	set      map[string]bool // paths of the keys with a value, valid or not
	problems []Problem
}

func (s *schema) read(o Overlay) *reading {
	r := &reading{schema: s, tree: map[string]any{}, set: map[string]bool{}}
	r.section(s.root, o, r.tree, keyRule{})
	return r
}

func (r *reading) refuse(path, next, format string, args ...any) {
	r.problems = append(r.problems, Problem{Path: path, Message: path + " " + fmt.Sprintf(format, args...), Next: next})
}

// section reads the keys of an object into out. The rule is the nearest one
// above that reserves the object or makes it inert.
func (r *reading) section(at *key, in map[string]any, out map[string]any, above keyRule) {
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		value := in[name]
		lower := strings.ToLower(name)
		if other, twice := seen[lower]; twice {
			r.refuse(join(at.path, name), "keep one of them", "is set twice, as %s and %s: Fabric does not tell upper from lower case", other, name)
			continue
		}
		seen[lower] = name
		k := at.children[lower]
		if k == nil {
			if above.reserved != "" || above.inert != "" {
				p, _ := above.problem(join(at.path, name))
				r.problems = append(r.problems, p)
				continue
			}
			r.unknown(join(at.path, name), value)
			continue
		}
		if value == nil {
			continue
		}
		rule := above
		if k.reserved != "" || k.inert != "" {
			rule = k.keyRule
		}
		if k.typ == typeSection {
			object, ok := value.(map[string]any)
			if ok {
				child := map[string]any{}
				r.section(k, object, child, rule)
				if len(child) > 0 {
					out[k.name()] = child
				}
				continue
			}
		}
		r.set[k.path] = true
		if p, refused := rule.problem(k.path); refused {
			r.problems = append(r.problems, p)
			continue
		}
		if v, ok := r.value(k, k.path, value); ok {
			out[k.name()] = v
		}
	}
}

// unknown reports each value below a key that the schema does not have.
func (r *reading) unknown(path string, value any) {
	if object, ok := value.(map[string]any); ok && len(object) > 0 {
		for _, name := range slices.Sorted(maps.Keys(object)) {
			r.unknown(join(path, name), object[name])
		}
		return
	}
	p := Problem{Path: path, Message: "unknown key " + path, Next: "remove it"}
	if other := otherRelease(r.schema, path); other != "" {
		p.Message = fmt.Sprintf("unknown key %s: Fabric %s has it, Fabric %s does not", path, other, r.schema.version)
	} else if k := r.schema.find(path); k != nil {
		p.Next = fmt.Sprintf("write it as nested objects, %s = { ... }", strings.SplitN(k.path, ".", 2)[0])
	} else if near := r.schema.nearest(path); near != "" {
		p.Next = "did you mean " + near
	}
	r.problems = append(r.problems, p)
}

// otherRelease is a supported release that has a key which s does not have.
func otherRelease(s *schema, path string) string {
	for _, other := range releases() {
		if other.version != s.version && s.find(path) == nil && other.schema(s.kind).find(path) != nil {
			return other.version.String()
		}
	}
	return ""
}

// value checks a value against a key and returns it in the form in which it is
// rendered.
func (r *reading) value(k *key, path string, value any) (any, bool) {
	wrong := func() (any, bool) {
		r.refuse(path, "", "must be %s, given %s", k.typ, describe(value))
		return nil, false
	}
	switch k.typ {
	case typeBool:
		if b, ok := value.(bool); ok {
			return b, true
		}
		return wrong()
	case typeInt:
		n, ok := integer(value)
		if !ok {
			return wrong()
		}
		limit := k.max
		if limit == 0 {
			limit = maxInt
		}
		if n < k.min || n > limit {
			r.refuse(path, "", "must be from %d to %d, given %d", k.min, limit, n)
			return nil, false
		}
		return n, true
	case typeFloat:
		if f, ok := number(value); ok {
			return f, true
		}
		return wrong()
	case typeDuration:
		return r.duration(k, path, value)
	case typeSize:
		return r.size(path, value)
	case typeString:
		s, ok := value.(string)
		if !ok {
			return wrong()
		}
		return r.text(k, path, s)
	case typeStrings:
		list, ok := value.([]any)
		if !ok {
			return wrong()
		}
		out := make([]any, 0, len(list))
		for i, element := range list {
			s, ok := element.(string)
			if !ok {
				r.refuse(index(path, i), "", "must be a string, given %s", describe(element))
				return nil, false
			}
			if v, ok := r.text(&key{}, index(path, i), s); ok {
				out = append(out, v)
			}
		}
		return out, len(out) == len(list)
	case typeObjects:
		list, ok := value.([]any)
		if !ok {
			return wrong()
		}
		out := make([]any, 0, len(list))
		for i, element := range list {
			if v, ok := r.object(k, index(path, i), element); ok {
				out = append(out, v)
			}
		}
		return out, len(out) == len(list)
	case typeMap:
		object, ok := value.(map[string]any)
		if !ok {
			return wrong()
		}
		out := make(map[string]any, len(object))
		valid := true
		for _, name := range slices.Sorted(maps.Keys(object)) {
			if !mapName.MatchString(name) {
				r.refuse(path, "use lower-case letters, digits, - and _", "has a key %q that Fabric cannot read", name)
				valid = false
				continue
			}
			if object[name] == nil {
				continue
			}
			v, ok := r.object(k, join(path, name), object[name])
			valid = valid && ok
			out[name] = v
		}
		return out, valid
	default:
		return wrong()
	}
}

// mapName is what a key of a free map may look like. Viper reads a dot as a
// level and turns upper case into lower case.
var mapName = regexp.MustCompile(`^[a-z0-9_-]+$`)

// object checks an object with the known fields of a list or map.
func (r *reading) object(k *key, path string, value any) (any, bool) {
	in, ok := value.(map[string]any)
	if !ok {
		r.refuse(path, "", "must be an object, given %s", describe(value))
		return nil, false
	}
	out := map[string]any{}
	valid := true
	for _, name := range slices.Sorted(maps.Keys(in)) {
		field := k.children[strings.ToLower(name)]
		if field == nil {
			var known []string
			for _, f := range k.sorted() {
				known = append(known, f.path)
			}
			r.problems = append(r.problems, Problem{
				Path:    join(path, name),
				Message: "unknown key " + join(path, name),
				Next:    "known are " + strings.Join(known, ", "),
			})
			valid = false
			continue
		}
		if in[name] == nil {
			continue
		}
		if _, twice := out[field.path]; twice {
			r.refuse(join(path, name), "keep one of them", "is set twice: Fabric does not tell upper from lower case")
			valid = false
			continue
		}
		v, ok := r.value(field, join(path, field.path), in[name])
		valid = valid && ok
		out[field.path] = v
	}
	for _, field := range k.sorted() {
		if field.required && (out[field.path] == nil || out[field.path] == "") && valid {
			r.refuse(join(path, field.path), "", "must be set")
			valid = false
		}
	}
	return out, valid
}

func (r *reading) duration(k *key, path string, value any) (any, bool) {
	s, ok := value.(string)
	if !ok {
		r.refuse(path, "", "must be %s, given %s", k.typ, describe(value))
		return nil, false
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		r.refuse(path, "", "must be %s, given %q", k.typ, s)
		return nil, false
	}
	if d < k.minDuration {
		r.refuse(path, "", "must be at least %s, given %s", max(k.minDuration, 0), s)
		return nil, false
	}
	return s, true
}

// size accepts what Fabric's common/viperutil does: a number of bytes, or a
// number with k, m or g, below 4 GB.
func (r *reading) size(path string, value any) (any, bool) {
	if n, ok := integer(value); ok && n > 0 && n <= math.MaxUint32 {
		return n, true
	}
	s, ok := value.(string)
	if !ok {
		r.refuse(path, "", "must be %s, given %s", typeSize, describe(value))
		return nil, false
	}
	m := sizeShape.FindStringSubmatch(s)
	if m == nil {
		r.refuse(path, "", "must be %s, given %q", typeSize, s)
		return nil, false
	}
	n, err := strconv.ParseUint(m[1], 10, 32)
	shift := map[string]uint{"k": 10, "m": 20, "g": 30}[strings.ToLower(m[2])]
	if err != nil || n == 0 || n > math.MaxUint32>>shift {
		r.refuse(path, "", "must be more than 0 and less than 4 GB, given %q", s)
		return nil, false
	}
	return s, true
}

func (r *reading) text(k *key, at, s string) (any, bool) {
	switch {
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }):
		r.refuse(at, "", "must be plain text without control characters")
	case len(k.oneOf) > 0 && !slices.Contains(k.oneOf, s):
		r.refuse(at, "", "must be one of %s, given %q", strings.Join(k.oneOf, ", "), s)
	case k.absolute && s != "" && !cleanAbsolute(s):
		r.refuse(at, "", "must be an absolute path, given %q", s)
	case k.endpoint && s != "" && !isEndpoint(s):
		r.refuse(at, "", "must be HOST:PORT, given %q", s)
	default:
		return s, true
	}
	return nil, false
}

func cleanAbsolute(s string) bool { return path.IsAbs(s) && path.Clean(s) == s }

func isEndpoint(s string) bool {
	_, _, ok := splitEndpoint(s)
	return ok
}

// splitEndpoint reads HOST:PORT; the host may be empty.
func splitEndpoint(s string) (host string, port int, ok bool) {
	host, text, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, false
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return host, int(n), err == nil && n > 0
}

// integer is a whole number of any of the types that decoders make of one.
func integer(value any) (int64, bool) {
	switch n := value.(type) {
	case int:
		return int64(n), true
	case int64:
		return n, true
	case float64:
		const exact = 1 << 53 // above it a float64 skips whole numbers
		if n != math.Trunc(n) || math.Abs(n) > exact {
			return 0, false
		}
		return int64(n), true
	default:
		return 0, false
	}
}

func number(value any) (float64, bool) {
	if f, ok := value.(float64); ok {
		return f, !math.IsNaN(f) && !math.IsInf(f, 0)
	}
	n, ok := integer(value)
	return float64(n), ok
}

// describe names the type of a value of an overlay, never the value: it may be
// a secret in the wrong place.
func describe(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case bool:
		return "a bool"
	case string:
		return "a string"
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	}
	if _, ok := integer(value); ok {
		return "a whole number"
	}
	if _, ok := value.(float64); ok {
		return "a number with a fraction"
	}
	return fmt.Sprintf("a %T", value)
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
