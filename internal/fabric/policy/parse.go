package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDepth bounds how deep gates may nest, so that hostile text or a hostile envelope cannot exhaust
// the stack. Policies of people nest three or four deep.
const maxDepth = 64

// SyntaxError says where a text stops being a policy, and why.
type SyntaxError struct {
	// Line and Column count from 1, columns in characters.
	Line, Column int
	// Reason is one sentence without a full stop.
	Reason string
	// multiline is whether the text has more than one line; if not, naming the line helps nobody.
	multiline bool
}

// Error gives for example "at column 14: unknown role …".
func (e *SyntaxError) Error() string {
	if e.multiline {
		return fmt.Sprintf("at line %d, column %d: %s", e.Line, e.Column, e.Reason)
	}
	return fmt.Sprintf("at column %d: %s", e.Column, e.Reason)
}

// Parse reads a signature policy in Fabric's policy language. It accepts what Fabric's own parser
// documents: the gates AND, OR and OutOf (also And, and, Or, or, OUTOF, outof, and no other
// spelling), nested at will, around principals in single or double quotes; white space and line
// breaks between any of them. OutOf(n, …) wants n from 0 to one more than the arguments that follow,
// as in Fabric: Satisfiable and SatisfiableBy tell whether such a policy makes sense. It does not
// accept what Fabric's parser lets through because it is built on a calculator, such as arithmetic
// in place of n or a policy in quotes.
//
// The error is a *SyntaxError.
func Parse(text string) (Policy, error) {
	p := &parser{text: text}
	p.space()
	if p.end() {
		return Policy{}, p.fail("the policy is empty; write for example OR('Org1MSP.peer')")
	}
	if c := p.peek(); c == '\'' || c == '"' {
		return Policy{}, p.fail("a policy starts with a gate; for a single principal write OR(%s)", p.upTo(c))
	}
	root, err := p.gate(1)
	if err != nil {
		return Policy{}, err
	}
	p.space()
	if !p.end() {
		return Policy{}, p.fail("unexpected %q after the end of the policy", p.peek())
	}
	return Policy{root: root}, nil
}

type parser struct {
	text string
	pos  int
}

func (p *parser) end() bool { return p.pos >= len(p.text) }

// peek gives the next character, or 0 at the end.
func (p *parser) peek() rune {
	if p.end() {
		return 0
	}
	c, _ := utf8.DecodeRuneInString(p.text[p.pos:])
	return c
}

func (p *parser) space() {
	for !p.end() {
		c, size := utf8.DecodeRuneInString(p.text[p.pos:])
		if !unicode.IsSpace(c) {
			return
		}
		p.pos += size
	}
}

// upTo gives the quoted text that starts here, with its quotes, or what is left of it.
func (p *parser) upTo(quote rune) string {
	rest := p.text[p.pos:]
	if i := strings.IndexRune(rest[1:], quote); i >= 0 {
		return rest[:i+2]
	}
	return rest
}

func (p *parser) fail(format string, args ...any) error { return p.failAt(p.pos, format, args...) }

func (p *parser) failAt(pos int, format string, args ...any) error {
	before := p.text[:pos]
	line := before[strings.LastIndexByte(before, '\n')+1:]
	return &SyntaxError{
		Line:      strings.Count(before, "\n") + 1,
		Column:    utf8.RuneCountInString(line) + 1,
		Reason:    fmt.Sprintf(format, args...),
		multiline: strings.Contains(strings.TrimRight(p.text, "\n"), "\n"),
	}
}

// word reads what an unquoted name or number may consist of.
func (p *parser) word() string {
	start := p.pos
	for !p.end() {
		c, size := utf8.DecodeRuneInString(p.text[p.pos:])
		if !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("._-+", c) {
			break
		}
		p.pos += size
	}
	return p.text[start:p.pos]
}

// gate reads NAME(…). It is called where a gate or an unquoted mistake may stand.
func (p *parser) gate(depth int) (*node, error) {
	start := p.pos
	name := p.word()
	if name == "" {
		return nil, p.failAt(start, "unexpected %q; expected AND, OR, OutOf or a principal in quotes", p.peek())
	}
	p.space()
	if p.peek() != '(' {
		if principal, err := parsePrincipal(name); err == nil {
			return nil, p.failAt(start, "a principal stands in quotes; write '%s'", principal)
		}
		return nil, p.failAt(start, "unexpected %q; expected AND, OR, OutOf or a principal in quotes", name)
	}
	var kind string
	switch name {
	case "AND", "And", "and":
		kind = "AND"
	case "OR", "Or", "or":
		kind = "OR"
	case "OutOf", "OUTOF", "outof":
		kind = "OutOf"
	default:
		for _, known := range []string{"AND", "OR", "OutOf"} {
			if strings.EqualFold(name, known) {
				return nil, p.failAt(start, "Fabric does not know the gate %q; write %s", name, known)
			}
		}
		return nil, p.failAt(start, "unknown gate %q; the gates are AND, OR and OutOf", name)
	}
	if depth > maxDepth {
		return nil, p.failAt(start, "gates nest more than %d deep", maxDepth)
	}
	p.pos++ // the opening parenthesis
	p.space()
	gate := &node{}
	numberAt := p.pos
	if kind == "OutOf" {
		n, err := p.number()
		if err != nil {
			return nil, err
		}
		gate.n = n
		p.space()
		if p.peek() != ',' {
			return nil, p.failAt(start, "OutOf wants a number and at least one principal or gate, as in OutOf(1, 'Org1MSP.peer', 'Org2MSP.peer')")
		}
		p.pos++
		p.space()
	}
	if p.peek() == ')' && p.text[p.pos-1] == '(' {
		return nil, p.failAt(start, "%s has no arguments", kind)
	}
	for {
		child, err := p.argument(depth)
		if err != nil {
			return nil, err
		}
		gate.children = append(gate.children, child)
		p.space()
		switch {
		case p.end():
			return nil, p.fail("%s( is not closed; a ) is missing", name)
		case p.peek() == ')':
			p.pos++
			return p.close(kind, gate, numberAt)
		case p.peek() == ',':
			p.pos++
			p.space()
		default:
			return nil, p.fail("unexpected %q; expected a comma or )", p.peek())
		}
	}
}

// close settles how many arguments the gate wants.
func (p *parser) close(kind string, gate *node, numberAt int) (*node, error) {
	switch kind {
	case "AND":
		gate.n = len(gate.children)
	case "OR":
		gate.n = 1
	default:
		if most := len(gate.children) + 1; gate.n < 0 || gate.n > most {
			return nil, p.failAt(numberAt, "OutOf wants %d of %d; Fabric allows 0 to %d", gate.n, len(gate.children), most)
		}
	}
	return gate, nil
}

func (p *parser) argument(depth int) (*node, error) {
	switch c := p.peek(); {
	case p.end():
		return nil, p.fail("the policy ends where a principal or a gate is expected")
	case c == ')' || c == ',':
		return nil, p.fail("unexpected %q; expected a principal or a gate", c)
	case c == '\'' || c == '"':
		start := p.pos
		content, err := p.quoted(c)
		if err != nil {
			return nil, err
		}
		principal, err := parsePrincipal(content)
		if err != nil {
			return nil, p.failAt(start, "%s", err)
		}
		return &node{principal: &principal}, nil
	default:
		return p.gate(depth + 1)
	}
}

// quoted reads up to the closing quote and gives what is between.
func (p *parser) quoted(quote rune) (string, error) {
	start := p.pos
	length := strings.IndexRune(p.text[start+1:], quote)
	if length < 0 {
		return "", p.failAt(start, "the quote is not closed")
	}
	content := p.text[start+1 : start+1+length]
	if strings.ContainsAny(content, `'"`) {
		return "", p.failAt(start, "the quotes do not match: what starts with %c must end with %c", quote, quote)
	}
	p.pos = start + 1 + length + 1
	return content, nil
}

// number reads how many OutOf wants. Fabric allows it in quotes.
func (p *parser) number() (int, error) {
	start := p.pos
	var text string
	if c := p.peek(); c == '\'' || c == '"' {
		var err error
		if text, err = p.quoted(c); err != nil {
			return 0, err
		}
	} else {
		text = p.word()
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || strings.HasPrefix(text, "+") {
		if text == "" || strings.Contains(text, ".") {
			return 0, p.failAt(start, "OutOf wants a whole number first, as in OutOf(1, 'Org1MSP.peer', 'Org2MSP.peer')")
		}
		return 0, p.failAt(start, "OutOf wants a whole number first, not %q", text)
	}
	return int(n), nil
}

// parsePrincipal reads MSPID.role. The MSP ID may itself hold dots: the last one counts.
func parsePrincipal(text string) (Principal, error) {
	dot := strings.LastIndexByte(text, '.')
	if dot < 0 {
		return Principal{}, fmt.Errorf("%q is not a principal; write an MSP ID and a role, as in 'Org1MSP.peer'", text)
	}
	principal := Principal{MSPID: text[:dot], Role: Role(text[dot+1:])}
	if !slices.Contains(roles, principal.Role) {
		if lower := Role(strings.ToLower(string(principal.Role))); slices.Contains(roles, lower) {
			return Principal{}, fmt.Errorf("unknown role %q; roles are written in lower case: %q", principal.Role, lower)
		}
		return Principal{}, fmt.Errorf("unknown role %q; the roles are admin, client, member, orderer and peer", principal.Role)
	}
	if principal.MSPID == "" {
		return Principal{}, fmt.Errorf("%q has no MSP ID before the role", text)
	}
	if i := strings.IndexFunc(principal.MSPID, func(c rune) bool { return !isMSPIDChar(c) }); i >= 0 {
		c, _ := utf8.DecodeRuneInString(principal.MSPID[i:])
		return Principal{}, fmt.Errorf("the MSP ID %q holds %q; in a policy Fabric allows letters, digits, dots and hyphens only", principal.MSPID, c)
	}
	return principal, nil
}

func isMSPIDChar(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-'
}
