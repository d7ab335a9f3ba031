package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
)

// MetaRule is how many groups below must agree.
type MetaRule string

// The rules of implicit meta policies.
const (
	MetaAny      MetaRule = "ANY"
	MetaAll      MetaRule = "ALL"
	MetaMajority MetaRule = "MAJORITY"
)

// ImplicitMeta is a policy of a channel configuration that asks the groups right below its own:
// "MAJORITY Admins" under /Channel/Application is met when the Admins policy of more than half of the
// application organizations is. Its zero value is no policy.
type ImplicitMeta struct {
	Rule      MetaRule
	SubPolicy string
}

var metaRules = []MetaRule{MetaAny, MetaAll, MetaMajority}

// ParseImplicitMeta reads "ANY <policy>", "ALL <policy>" or "MAJORITY <policy>". The rule is in upper
// case; the name is one of a policy in the groups below, without a path.
func ParseImplicitMeta(text string) (ImplicitMeta, error) {
	words := strings.Fields(text)
	if len(words) == 0 || !slices.Contains(metaRules, MetaRule(words[0])) {
		return ImplicitMeta{}, fmt.Errorf("unable to read the implicit meta policy %q: it must start with ANY, ALL or MAJORITY, as in \"MAJORITY Endorsement\"", text)
	}
	if len(words) != 2 {
		return ImplicitMeta{}, fmt.Errorf("unable to read the implicit meta policy %q: one policy name must follow %s, as in \"MAJORITY Endorsement\"", text, words[0])
	}
	if err := validateElement(words[1]); err != nil {
		return ImplicitMeta{}, fmt.Errorf("unable to read the implicit meta policy %q: the policy name %w", text, err)
	}
	return ImplicitMeta{Rule: MetaRule(words[0]), SubPolicy: words[1]}, nil
}

// IsZero tells whether this is the zero value.
func (m ImplicitMeta) IsZero() bool { return m == ImplicitMeta{} }

// String gives the text that ParseImplicitMeta reads.
func (m ImplicitMeta) String() string {
	if m.IsZero() {
		return ""
	}
	return string(m.Rule) + " " + m.SubPolicy
}

// Threshold gives how many of the given number of groups must agree. Without any group Fabric wants
// none: such a policy lets everybody through.
func (m ImplicitMeta) Threshold(groups int) int {
	switch {
	case groups == 0:
		return 0
	case m.Rule == MetaAny:
		return 1
	case m.Rule == MetaAll:
		return groups
	default:
		return groups/2 + 1
	}
}

// Proto gives the policy as Fabric stores it, nil for the zero value.
func (m ImplicitMeta) Proto() *common.ImplicitMetaPolicy {
	if m.IsZero() {
		return nil
	}
	return &common.ImplicitMetaPolicy{
		Rule:      common.ImplicitMetaPolicy_Rule(common.ImplicitMetaPolicy_Rule_value[string(m.Rule)]),
		SubPolicy: m.SubPolicy,
	}
}

// ImplicitMetaFromProto reads the policy as Fabric stores it.
func ImplicitMetaFromProto(p *common.ImplicitMetaPolicy) (ImplicitMeta, error) {
	rule := MetaRule(p.GetRule().String())
	if !slices.Contains(metaRules, rule) {
		return ImplicitMeta{}, fmt.Errorf("unable to read the implicit meta policy: the rule %d is unknown", p.GetRule())
	}
	if p.GetSubPolicy() == "" {
		return ImplicitMeta{}, errors.New("unable to read the implicit meta policy: it names no policy")
	}
	return ImplicitMeta{Rule: rule, SubPolicy: p.GetSubPolicy()}, nil
}

// ParseReference checks the path of a policy in a channel configuration, for example
// /Channel/Application/Endorsement, and gives it back without white space around it. Whether the
// channel has that policy only its configuration tells.
func ParseReference(text string) (string, error) {
	path := strings.TrimSpace(text)
	elements := strings.Split(path, "/")
	if len(elements) < 3 || elements[0] != "" || elements[1] != "Channel" {
		return "", fmt.Errorf("unable to read the policy reference %q: it must be a path below /Channel, as in \"/Channel/Application/Endorsement\"", text)
	}
	for _, element := range elements[2:] {
		if err := validateElement(element); err != nil {
			return "", fmt.Errorf("unable to read the policy reference %q: its element %w", text, err)
		}
	}
	return path, nil
}

// validateElement applies Fabric's rule for the keys of a channel configuration (common/configtx,
// validateConfigID).
func validateElement(name string) error {
	switch {
	case name == "":
		return errors.New("is empty")
	case len(name) > 249:
		return fmt.Errorf("%q is longer than 249 characters", name)
	case name == "." || name == "..":
		return fmt.Errorf("%q is not allowed", name)
	case strings.ContainsFunc(name, func(c rune) bool { return !isMSPIDChar(c) }):
		return fmt.Errorf("%q may hold letters, digits, dots and hyphens only", name)
	}
	return nil
}
