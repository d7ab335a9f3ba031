package nodeconfig

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// valueType is what a key holds.
type valueType int

const (
	typeInferred valueType = iota // in a rule: as the default shows
	typeAny
	typeSection // an object with known keys
	typeMap     // an object whose keys the user chooses
	typeObjects // a list of objects with known keys
	typeStrings
	typeString
	typeBool
	typeInt
	typeFloat
	typeDuration
	typeSize
)

func (t valueType) String() string {
	switch t {
	case typeSection, typeMap:
		return "an object"
	case typeObjects:
		return "a list of objects"
	case typeStrings:
		return "a list of strings"
	case typeString:
		return "a string"
	case typeBool:
		return "true or false"
	case typeInt:
		return "a whole number"
	case typeFloat:
		return "a number"
	case typeDuration:
		return `a duration such as "10s" or "1m30s"`
	case typeSize:
		return `a size such as "16 MB"`
	default:
		return "any value"
	}
}

// keyRule is what is known about a key beyond what its default shows.
type keyRule struct {
	path   string // dotted, in Fabric's spelling
	typ    valueType
	hidden bool // Fabric reads the key although the sample does not list it
	// major limits a hidden key to one major version of Fabric; 0 is all.
	major int

	// reserved is why the provider sets the key itself; it holds for the whole
	// section below it. attribute is the resource's attribute that has
	// influence on the value, if there is one.
	reserved, attribute string
	// inert is why setting the key would have no effect; it holds for the whole
	// section below it.
	inert string

	oneOf       []string
	min, max    int64 // of a whole number; max 0 is the default limit
	minDuration time.Duration
	absolute    bool // a string that is an absolute path
	endpoint    bool // a string that is HOST:PORT
	fields      []keyRule
	required    bool // of a field in a list of objects
}

// key is one node of the schema of a release.
type key struct {
	keyRule
	children map[string]*key // by lower-cased name; of a section, or of the objects of a list or map
}

// schema is what a release of Fabric knows about one of its files.
type schema struct {
	kind     Kind
	version  Version
	root     *key
	defaults map[string]any
	leaves   []string // the paths of all keys that hold a value, sorted
}

// maxInt is the limit of whole numbers: Fabric reads the larger ones as int32
// or uint32.
const maxInt = 1<<31 - 1

var (
	durationShape = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h)$`)
	sizeShape     = regexp.MustCompile(`^([0-9]+)\s*([kKmMgG])[bB]?$`) // as in Fabric's common/viperutil
)

// newSchema derives the keys and their types from the defaults of a release and
// refines them by the rules. A rule that is not hidden and whose key the
// defaults do not have belongs to another release and is passed over.
func newSchema(kind Kind, version Version, defaults map[string]any, rules []keyRule) *schema {
	s := &schema{kind: kind, version: version, root: inferKey("", defaults), defaults: defaults}
	for _, rule := range rules {
		if rule.hidden && (rule.major == 0 || rule.major == version.major) {
			s.add(rule)
		} else if k := s.find(rule.path); k != nil && !rule.hidden {
			k.refine(rule)
		}
	}
	s.leaves = leaves(s.root)
	return s
}

// inferKey reads the type of a key from its default.
func inferKey(path string, value any) *key {
	k := &key{keyRule: keyRule{path: path}}
	switch value := value.(type) {
	case map[string]any:
		k.typ = typeSection
		k.children = make(map[string]*key, len(value))
		for name, child := range value {
			k.children[strings.ToLower(name)] = inferKey(join(path, name), child)
		}
	case []any:
		k.typ = typeStrings
	case bool:
		k.typ = typeBool
	case int:
		k.typ = typeInt
	case float64:
		k.typ = typeFloat
	case string:
		switch {
		case durationShape.MatchString(value):
			k.typ = typeDuration
		case sizeShape.MatchString(value):
			k.typ = typeSize
		default:
			k.typ = typeString
		}
	default:
		k.typ = typeAny
	}
	return k
}

func (k *key) refine(rule keyRule) {
	inferred := k.typ
	k.keyRule = rule
	if rule.typ == typeInferred {
		k.typ = inferred
	}
	if k.typ != typeSection {
		k.children = nil
	}
	if len(rule.fields) > 0 {
		k.children = make(map[string]*key, len(rule.fields))
		for _, field := range rule.fields {
			k.children[strings.ToLower(field.path)] = &key{keyRule: field}
		}
	}
}

// add inserts a key that the defaults do not have.
func (s *schema) add(rule keyRule) {
	at := s.root
	names := strings.Split(rule.path, ".")
	for i, name := range names {
		next, ok := at.children[strings.ToLower(name)]
		if !ok {
			next = &key{keyRule: keyRule{path: strings.Join(names[:i+1], "."), typ: typeSection}, children: map[string]*key{}}
			at.children[strings.ToLower(name)] = next
		}
		at = next
	}
	at.refine(rule)
}

// find returns the key with a dotted path, in any case, or nil.
func (s *schema) find(path string) *key {
	k := s.root
	for name := range strings.SplitSeq(strings.ToLower(path), ".") {
		if k.typ != typeSection || k.children[name] == nil {
			return nil
		}
		k = k.children[name]
	}
	return k
}

// name is the last element of the path.
func (k *key) name() string {
	return k.path[strings.LastIndexByte(k.path, '.')+1:]
}

// sorted are the children in the order of their names.
func (k *key) sorted() []*key {
	names := slices.Sorted(maps.Keys(k.children))
	children := make([]*key, len(names))
	for i, name := range names {
		children[i] = k.children[name]
	}
	return children
}

func leaves(k *key) []string {
	if k.typ != typeSection {
		return []string{k.path}
	}
	var paths []string
	for _, child := range k.sorted() {
		paths = append(paths, leaves(child)...)
	}
	return paths
}

// problem is what the rule itself has to say when the key is set at all.
func (r keyRule) problem(path string) (Problem, bool) {
	switch {
	case r.reserved != "" && r.attribute != "":
		return Problem{
			Path:    path,
			Message: fmt.Sprintf("%s cannot be set here: %s", path, r.reserved),
			Next:    fmt.Sprintf("remove it and use the attribute %s", r.attribute),
		}, true
	case r.reserved != "":
		return Problem{Path: path, Message: fmt.Sprintf("%s cannot be set here: %s", path, r.reserved), Next: "remove it"}, true
	case r.inert != "":
		return Problem{Path: path, Message: fmt.Sprintf("%s would have no effect: %s", path, r.inert), Next: "remove it"}, true
	default:
		return Problem{}, false
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
