package configtx

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
)

// Kind is what an element of a configuration is.
type Kind string

// The three kinds of elements. A group holds the others; each has a version and a mod_policy.
const (
	KindGroup  Kind = "group"
	KindValue  Kind = "value"
	KindPolicy Kind = "policy"
)

// rootPath is the path of the channel group.
const rootPath = "/Channel"

// element is a group, a value or a policy of a configuration or of one of the sets of an update.
type element struct {
	kind   Kind
	path   string // for example /Channel/Orderer/BatchSize
	group  *common.ConfigGroup
	value  *common.ConfigValue
	policy *common.ConfigPolicy
}

// elementKey names an element: a value and a policy of one group may have one path.
type elementKey struct {
	path string
	kind Kind
}

func (e element) key() elementKey { return elementKey{e.path, e.kind} }

func (e element) version() uint64 {
	switch e.kind {
	case KindGroup:
		return e.group.GetVersion()
	case KindValue:
		return e.value.GetVersion()
	default:
		return e.policy.GetVersion()
	}
}

func (e element) modPolicy() string {
	switch e.kind {
	case KindGroup:
		return e.group.GetModPolicy()
	case KindValue:
		return e.value.GetModPolicy()
	default:
		return e.policy.GetModPolicy()
	}
}

// parentOf gives the path of the group that holds the element at the path, "" for the channel group.
func parentOf(path string) string { return path[:strings.LastIndex(path, "/")] }

// nameOf gives the last part of a path.
func nameOf(path string) string { return path[strings.LastIndex(path, "/")+1:] }

// governedBy gives the absolute path of the policy that a change of the element falls under
// (common/configtx, policyForItem): a mod_policy without a leading slash is one of the group itself, or
// of the group that holds the value or policy. It is empty when the element has no mod_policy.
func (e element) governedBy() string {
	mod := e.modPolicy()
	switch {
	case mod == "" || strings.HasPrefix(mod, "/"):
		return mod
	case e.kind == KindGroup:
		return e.path + "/" + mod
	default:
		return parentOf(e.path) + "/" + mod
	}
}

// maxGroupDepth bounds how deep groups may nest: Fabric's own channels nest three deep, and what a
// partner hands over must not exhaust the stack.
const maxGroupDepth = 16

// elements gives every element of the tree below the channel group.
func elements(group *common.ConfigGroup) (map[elementKey]element, error) {
	out := map[elementKey]element{}
	if group == nil {
		return out, nil
	}
	return out, collect(out, rootPath, group, 1)
}

func collect(out map[elementKey]element, path string, group *common.ConfigGroup, depth int) error {
	if depth > maxGroupDepth {
		return fmt.Errorf("its groups nest more than %d deep", maxGroupDepth)
	}
	out[elementKey{path, KindGroup}] = element{kind: KindGroup, path: path, group: group}
	check := func(name string) error {
		if err := validateKey(name); err != nil {
			return fmt.Errorf("the key %q below %s %w", name, path, err)
		}
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(group.GetValues())) {
		if err := check(name); err != nil {
			return err
		}
		e := element{kind: KindValue, path: path + "/" + name, value: group.GetValues()[name]}
		out[e.key()] = e
	}
	for _, name := range slices.Sorted(maps.Keys(group.GetPolicies())) {
		if err := check(name); err != nil {
			return err
		}
		e := element{kind: KindPolicy, path: path + "/" + name, policy: group.GetPolicies()[name]}
		out[e.key()] = e
	}
	for _, name := range slices.Sorted(maps.Keys(group.GetGroups())) {
		if err := check(name); err != nil {
			return err
		}
		if err := collect(out, path+"/"+name, group.GetGroups()[name], depth+1); err != nil {
			return err
		}
	}
	return nil
}

// sortedKeys gives the keys in a fixed order: by path, a group before a policy before a value.
func sortedKeys[T any](m map[elementKey]T) []elementKey {
	return slices.SortedStableFunc(maps.Keys(m), func(a, b elementKey) int {
		if c := strings.Compare(a.path, b.path); c != 0 {
			return c
		}
		return strings.Compare(string(a.kind), string(b.kind))
	})
}

// pathParts splits a path at its slashes; a leading slash starts no part.
func pathParts(path string) []string { return strings.Split(strings.TrimPrefix(path, "/"), "/") }
