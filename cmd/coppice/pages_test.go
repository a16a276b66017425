package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Where a page spells a command: in a line of text, and in one of a block.
var (
	inText  = regexp.MustCompile("`(?:bin/)?(coppice [^`]+)`")
	inBlock = regexp.MustCompile(`^ *(?:[A-Z_]+=\S+ )?(?:bin/)?(coppice .+)|\$\((coppice [^)]+)\)`)
)

// commandsIn returns the commands that a page spells.
func commandsIn(text string) (commands []string) {
	block := false
	for line := range strings.Lines(text) {
		where := inText
		if block {
			where = inBlock
		}
		if strings.HasPrefix(line, "```") {
			block = !block
		}
		for _, match := range where.FindAllStringSubmatch(strings.TrimSpace(line), -1) {
			commands = append(commands, strings.Join(match[1:], ""))
		}
	}
	return commands
}

// Every command that a page names, whether a test runs it or not, is there, and
// so are its flags.
func TestPagesNameRealCommands(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range commandsIn(string(text)) {
			named++
			if why := unreal(command); why != "" {
				t.Errorf("%s: %s: %s", filepath.Base(page), command, why)
			}
		}
	}
	if named < 250 {
		t.Errorf("only %d commands were found", named)
	}
	for _, wrong := range []string{"coppice frobnicate", "coppice fork hello --frob", "coppice fork hello -Z", "coppice domain frob"} {
		if unreal(wrong) == "" {
			t.Errorf("%s passes for a command", wrong)
		}
	}
}

// unreal returns what of a command is not there, or nothing.
func unreal(command string) string {
	command, _, _ = strings.Cut(command, " #")
	words := strings.Fields(command)[1:]
	for i, word := range words {
		if strings.ContainsAny(word, `|&;>["'`) || word == "--" || strings.HasPrefix(word, "...") {
			words = words[:i] // what follows is the shell's, another program's, or anything
			break
		}
	}
	c, rest, err := tree().Find(words)
	switch {
	case err != nil:
		return err.Error()
	case !c.Runnable() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") && rest[0] != strings.ToUpper(rest[0]):
		return "there is no " + rest[0]
	}
	for _, word := range rest {
		if flag := unknownFlag(c, word); flag != "" {
			return "there is no flag " + flag
		}
	}
	return ""
}

// unknownFlag returns a word that would be a flag and is none of a command's.
func unknownFlag(c *cobra.Command, word string) string {
	c.InitDefaultHelpFlag()
	name, _, _ := strings.Cut(word, "=")
	switch {
	case strings.HasPrefix(name, "--"):
		if c.Flag(name[2:]) == nil {
			return name
		}
	case len(name) > 1 && name[0] == '-':
		if c.Flags().ShorthandLookup(name[1:2]) == nil && c.InheritedFlags().ShorthandLookup(name[1:2]) == nil {
			return name
		}
	}
	return ""
}
