// Package docs holds the project's documents, and the tests that keep them true.
package docs

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// floors are the folders of the house (architecture.md) and the floor of each.
// A package belongs to the longest folder that it lies in.
var floors = map[string]int{
	"cmd": 7, "examples": 7,
	"bench":       6,
	"mpi":         5,
	"collectives": 4, "tagmatch": 4, "matrix": 4,
	"nicrt":        3,
	"verbs":        2,
	"verbs/fabric": 1,
	"docs":         0,
}

// room finds the folder and floor of a package path relative to the module.
func room(path string) (folder string, floor int) {
	for folder = path; ; {
		if f, ok := floors[folder]; ok {
			return folder, f
		}
		i := strings.LastIndexByte(folder, '/')
		if i < 0 {
			return "", -1
		}
		folder = folder[:i]
	}
}

// allowed reports whether a package may import another: on a lower floor, or in its own folder, and never an example.
func allowed(from, to string) bool {
	a, fa := room(from)
	b, fb := room(to)
	switch {
	case fa < 0 || fb < 0:
		return false
	case a == b:
		return a != "examples" || strings.Split(from, "/")[1] == strings.Split(to, "/")[1]
	default:
		return fb < fa
	}
}

func TestRules(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		want     bool
	}{
		{"mpi", "nicrt", true},
		{"mpi", "verbs/fabric/shm", true},
		{"nicrt", "mpi", false},
		{"verbs/fabric/shm", "verbs", false},
		{"verbs", "verbs/fabric", true},
		{"tagmatch/unit", "tagmatch", true},
		{"collectives", "tagmatch", false},
		{"examples/cg", "examples/cg/internal/mm", true},
		{"examples/cg", "examples/pi", false},
		{"cmd/outboard", "examples/cg", false},
		{"stray", "verbs", false},
	} {
		if got := allowed(tt.from, tt.to); got != tt.want {
			t.Errorf("%s may import %s: %v, want %v", tt.from, tt.to, got, tt.want)
		}
	}
}

// TestImports checks every file of the module, tests included.
func TestImports(t *testing.T) {
	const module = "outboard/"
	root := ".."
	checked := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		from := filepath.ToSlash(rel)
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		checked++
		for _, im := range f.Imports {
			to, err := strconv.Unquote(im.Path.Value)
			if err != nil {
				return err
			}
			if rest, ok := strings.CutPrefix(to, module); ok && !allowed(from, rest) {
				t.Errorf("%s imports %s: not on a floor below, nor of its own folder", path, to)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked == 0 {
		t.Fatal("no Go files found")
	}
}

// TestTopLevel keeps the top level to the rooms of the house.
func TestTopLevel(t *testing.T) {
	want := map[string]bool{"cmd": true, "verbs": true, "nicrt": true, "collectives": true, "tagmatch": true, "mpi": true,
		"matrix": true, "examples": true, "bench": true, "docs": true}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !want[e.Name()] && e.Name()[0] != '.' && e.Name()[0] != '_' {
			t.Errorf("folder %s is not a room of the house", e.Name())
		}
	}
}
