package provider

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
)

// completeExample holds every argument of everything. The documentation shows its files, and the
// acceptance tests apply them.
const completeExample = "../../examples/complete"

// exampleFile is where the arguments of a schema are shown, which schemas calls by its kind and name.
func exampleFile(of string) string {
	prefixes := strings.NewReplacer("ephemeral resource ", "ephemeral_", "data source ", "data_", "resource ", "")
	return prefixes.Replace(of) + ".tf"
}

// TestCompleteExampleShowsEveryArgument, each in its place.
func TestCompleteExampleShowsEveryArgument(t *testing.T) {
	for of, s := range schemas(t) {
		if strings.HasPrefix(of, "action ") { // its page shows them: not every Terraform reads actions
			continue
		}
		content, err := os.ReadFile(filepath.Join(completeExample, exampleFile(of)))
		if err != nil {
			t.Error(err)
			continue
		}
		expectShown(t, exampleFile(of), string(content), s.Block.Attributes)
	}
}

func expectShown(t *testing.T, at, text string, attributes []*tfprotov6.SchemaAttribute) {
	t.Helper()
	for _, a := range attributes {
		if !a.Required && !a.Optional {
			continue
		}
		shown := assigned(text, a.Name)
		if shown == "" {
			t.Errorf("%s.%s is not shown", at, a.Name)
		} else if a.NestedType != nil {
			expectShown(t, at+"."+a.Name, shown, a.NestedType.Attributes)
		}
	}
}

// assigned gives the expressions that a name is assigned in a text of HCL, one after the other.
func assigned(text, name string) string {
	out := ""
	for _, at := range regexp.MustCompile(`(?m)(?:^|[{,])\s*`+name+`\s*=[^=]`).FindAllStringIndex(text, -1) {
		depth, rest := 0, text[at[1]-1:]
		end := strings.IndexFunc(rest, func(r rune) bool {
			switch r {
			case '{', '[', '(':
				depth++
			case '}', ']', ')':
				depth--
			}
			return depth < 0 || depth == 0 && (r == '\n' || r == ',')
		})
		if end < 0 {
			end = len(rest)
		}
		out += rest[:end] + "\n"
	}
	return out
}

// TestEveryFunctionIsShown in the complete example too.
func TestEveryFunctionIsShown(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(completeExample, "functions.tf"))
	if err != nil {
		t.Fatal(err)
	}
	for name := range served(t).Functions {
		if !strings.Contains(string(content), "provider::fabric::"+name+"(") {
			t.Errorf("function %s is not shown", name)
		}
	}
}
