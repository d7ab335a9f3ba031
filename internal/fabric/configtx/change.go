package configtx

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"

	"github.com/fabricops/terraform-provider-fabric/internal/fabric/policy"
)

// Action is what happens to a part of a configuration.
type Action string

// The actions.
const (
	ActionAdded   Action = "added"
	ActionRemoved Action = "removed"
	ActionChanged Action = "changed"
)

// fieldModPolicy is the Field of a Change of a mod_policy.
const fieldModPolicy = "mod_policy"

// Change is one thing that an update changes.
type Change struct {
	// Path is the element of the configuration, for example /Channel/Orderer/BatchSize.
	Path string
	Kind Kind
	// Action is what happens to the field, or to the member of a list that Words name, or to the element
	// when Field is empty.
	Action Action
	// Field is what changes within the element, for example max_message_count; mod_policy for the policy
	// that later changes fall under; empty when the element as a whole comes or goes, or is written again
	// although nothing in it differs.
	Field string
	// Before and After are the field as text. Before is empty for what is added, After for what is removed.
	Before, After string
	// Words is the change for a reader, such as "batch max_message_count 10 → 500" or "organization
	// Org3MSP added".
	Words string
	// ModPolicy is the absolute path of the policy that the change falls under, as the channel is now. It
	// is empty for what is new inside something new: that is not evaluated itself.
	ModPolicy string
}

// Changes says what an update changes, field by field, in a fixed order (by path). It is derived from
// the update itself, as ordering nodes read it, so it holds for an update that somebody else computed.
// The errors are those of Apply.
func Changes(base *Config, update *common.ConfigUpdate) ([]Change, error) {
	fail := func(err error) error {
		return fmt.Errorf("unable to tell what the update of the channel %s changes: %w", base.Channel, err)
	}
	d, err := deltaOf(base, update)
	if err != nil {
		return nil, fail(err)
	}
	group, _, err := d.result()
	if err != nil {
		return nil, fail(err)
	}
	after, err := elements(group)
	if err != nil {
		return nil, fail(err)
	}
	t := &teller{base: d.base, after: after, written: d.changed}
	for _, key := range t.keys() {
		t.tell(key)
	}
	return t.changes, nil
}

// teller turns the difference between two configurations into words.
type teller struct {
	base, after, written map[elementKey]element
	changes              []Change
}

func (t *teller) keys() []elementKey {
	all := map[elementKey]bool{}
	for key := range t.base {
		all[key] = true
	}
	for key := range t.after {
		all[key] = true
	}
	return sortedKeys(all)
}

func (t *teller) tell(key elementKey) {
	before, was := t.base[key]
	after, is := t.after[key]
	switch _, written := t.written[key]; {
	case !was:
		t.whole(after, ActionAdded)
	case !is:
		t.whole(before, ActionRemoved)
	case written:
		t.changed(before, after)
	}
}

// joinedPolicy gives the policy that the coming and going of an element falls under: that of its group,
// when the group is there already.
func (t *teller) joinedPolicy(path string) string {
	if group, ok := t.base[elementKey{parentOf(path), KindGroup}]; ok {
		return group.governedBy()
	}
	return ""
}

// whole tells of an element that comes or goes.
func (t *teller) whole(e element, action Action) {
	if action == ActionRemoved && e.path != rootPath {
		if _, ok := t.after[elementKey{parentOf(e.path), KindGroup}]; !ok {
			return // it went with its group, which is told
		}
	}
	modPolicy := t.joinedPolicy(e.path)
	add := func(c Change) {
		c.Path, c.Kind, c.ModPolicy = e.path, e.kind, modPolicy
		t.changes = append(t.changes, c)
	}
	switch e.kind {
	case KindGroup:
		add(Change{Action: action, Words: fmt.Sprintf("%s %s", t.groupName(e.path), action)})
	case KindPolicy:
		text := describePolicy(e.policy)
		if action == ActionAdded {
			add(Change{Action: action, After: text, Words: fmt.Sprintf("policy %s added: %s", e.path, text)})
		} else {
			add(Change{Action: action, Before: text, Words: fmt.Sprintf("policy %s removed: %s", e.path, text)})
		}
	case KindValue:
		var before, after []byte
		if action == ActionAdded {
			after = e.value.GetValue()
		} else {
			before = e.value.GetValue()
		}
		changes := t.fields(e.path, before, after, action == ActionRemoved, action == ActionAdded)
		if len(changes) == 0 {
			changes = []Change{{Action: action, Words: fmt.Sprintf("value %s %s", e.path, action)}}
		}
		for _, c := range changes {
			add(c)
		}
	}
}

// changed tells of an element that the update writes again.
func (t *teller) changed(before, after element) {
	from := len(t.changes)
	add := func(c Change) {
		c.Path, c.Kind, c.ModPolicy = before.path, before.kind, before.governedBy()
		t.changes = append(t.changes, c)
	}
	switch before.kind {
	case KindPolicy:
		if !proto.Equal(before.policy.GetPolicy(), after.policy.GetPolicy()) {
			add(Change{
				Action: ActionChanged, Field: "rule", Before: describePolicy(before.policy), After: describePolicy(after.policy),
				Words: fmt.Sprintf("policy %s: %s", before.path, policyWords(before.policy, after.policy)),
			})
		}
	case KindValue:
		if !bytes.Equal(before.value.GetValue(), after.value.GetValue()) {
			for _, c := range t.fields(before.path, before.value.GetValue(), after.value.GetValue(), true, true) {
				add(c)
			}
		}
	}
	if a, b := before.modPolicy(), after.modPolicy(); a != b {
		add(Change{Action: ActionChanged, Field: fieldModPolicy, Before: a, After: b, Words: fmt.Sprintf("mod_policy of %s: %s → %s", before.path, orNone(a), orNone(b))})
	}
	// A group that is raised because a member comes or goes is told by that member.
	if len(t.changes) == from && (before.kind != KindGroup || !t.membership(before.path)) {
		add(Change{Action: ActionChanged, Words: fmt.Sprintf("%s %s written again, nothing in it differs", before.kind, before.path)})
	}
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// membership tells whether a member of the group comes or goes.
func (t *teller) membership(path string) bool {
	moved := func(some, others map[elementKey]element) bool {
		for key := range some {
			if _, ok := others[key]; !ok && parentOf(key.path) == path {
				return true
			}
		}
		return false
	}
	return moved(t.base, t.after) || moved(t.after, t.base)
}

// fields tells how a value differs, one Change per field. What is not there before or after has no
// facts.
func (t *teller) fields(path string, before, after []byte, was, is bool) []Change {
	var old, now []fact
	readable := true
	if was {
		facts, ok := facts(path, t.mspID(parentOf(path)), before)
		old, readable = facts, readable && ok
	}
	if is {
		facts, ok := facts(path, t.mspID(parentOf(path)), after)
		now, readable = facts, readable && ok
	}
	if !readable {
		return []Change{rawChange(path, before, after, was, is)}
	}
	return diffFacts(old, now, was != is)
}

// rawChange tells of a value that has no words here: one of a later Fabric, or a damaged one.
func rawChange(path string, before, after []byte, was, is bool) Change {
	c := Change{Action: ActionChanged, Field: "value"}
	if was {
		c.Before = summaryOf(before)
	} else {
		c.Action = ActionAdded
	}
	if is {
		c.After = summaryOf(after)
	} else {
		c.Action = ActionRemoved
	}
	c.Words = fmt.Sprintf("value %s %s", path, c.Action)
	if c.Action == ActionChanged {
		c.Words = fmt.Sprintf("value %s: %s → %s", path, c.Before, c.After)
	}
	return c
}

// diffFacts tells how the facts of a value differ; whole is whether the value itself comes or goes.
func diffFacts(before, after []fact, whole bool) []Change {
	find := func(all []fact, f fact) *fact {
		if i := slices.IndexFunc(all, func(g fact) bool { return g.key() == f.key() }); i >= 0 {
			return &all[i]
		}
		return nil
	}
	implied := func(f fact) bool {
		return f.value == "" && f.id == "" || f.detail && (whole || f.id != "")
	}
	var out []Change
	// moved are the lists of which a member came or went: their order differs without saying.
	moved := map[string]bool{}
	for _, f := range before {
		if find(after, f) == nil {
			moved[f.field] = true
			if !implied(f) {
				out = append(out, Change{Action: ActionRemoved, Field: f.field, Before: f.text(), Words: f.label + " removed" + parenthesis(f.value)})
			}
		}
	}
	for _, f := range after {
		old := find(before, f)
		switch {
		case old == nil:
			moved[f.field] = true
			if !implied(f) {
				out = append(out, Change{Action: ActionAdded, Field: f.field, After: f.text(), Words: addedWords(f)})
			}
		case old.value != f.value && (f.id != orderID || !moved[f.field]):
			out = append(out, Change{Action: ActionChanged, Field: f.field, Before: old.value, After: f.value, Words: changedWords(*old, f)})
		}
	}
	return out
}

func changedWords(before, after fact) string {
	between := " "
	if after.id != "" {
		between = ": "
	}
	return after.label + between + orNone(before.value) + " → " + orNone(after.value)
}

// text is what a fact says, for Before and After.
func (f fact) text() string {
	if f.value != "" {
		return f.value
	}
	return f.id
}

func addedWords(f fact) string {
	if f.id == "" {
		return f.label + " " + f.value
	}
	return f.label + " added" + parenthesis(f.value)
}

func parenthesis(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

func describePolicy(p *common.ConfigPolicy) string {
	text, err := policy.DescribeConfigPolicy(p.GetPolicy())
	if err != nil {
		return "unreadable policy " + summaryOf(p.GetPolicy().GetValue())
	}
	return text
}

// policyWords says how a policy changes. Policies of single identities, as BlockValidation is with
// SmartBFT, are told by number: who they are the consenters tell.
func policyWords(before, after *common.ConfigPolicy) string {
	a, one := countIdentities(before.GetPolicy())
	b, two := countIdentities(after.GetPolicy())
	switch {
	case one && two && a == b:
		return a + ", others than before"
	case one && two:
		return a + " → " + b
	default:
		return describePolicy(before) + " → " + describePolicy(after)
	}
}

func countIdentities(p *common.Policy) (text string, ok bool) {
	envelope := &common.SignaturePolicyEnvelope{}
	if p.GetType() != int32(common.Policy_SIGNATURE) || proto.Unmarshal(p.GetValue(), envelope) != nil {
		return "", false
	}
	for _, principal := range envelope.GetIdentities() {
		if principal.GetPrincipalClassification() != mspproto.MSPPrincipal_IDENTITY {
			return "", false
		}
	}
	gate := envelope.GetRule().GetNOutOf()
	for _, rule := range gate.GetRules() {
		if _, ok := rule.GetType().(*common.SignaturePolicy_SignedBy); !ok {
			return "", false
		}
	}
	return fmt.Sprintf("%d of %d identities", gate.GetN(), len(gate.GetRules())), len(gate.GetRules()) > 0
}

// mspID gives the MSP ID of the organization whose group is at the path, or the key of the group.
func (t *teller) mspID(path string) string {
	for _, all := range []map[elementKey]element{t.after, t.base} {
		if value, ok := all[elementKey{path + "/" + keyMSP, KindValue}]; ok {
			r := &reader{}
			d, _ := r.definition(&common.ConfigGroup{Values: map[string]*common.ConfigValue{keyMSP: value.value}})
			if r.err == nil && d.ID != "" {
				return d.ID
			}
		}
	}
	return nameOf(path)
}

// groupName says what a group is.
func (t *teller) groupName(path string) string {
	switch parentOf(path) {
	case rootPath + "/" + groupApplication:
		return "organization " + t.mspID(path)
	case rootPath + "/" + groupOrderer:
		return "orderer organization " + t.mspID(path)
	default:
		return "group " + path
	}
}
