package main

import (
	"strings"
	"testing"
)

// The key is for the gateway alone, whoever else ssh asks for.
func TestAnswerSSH(t *testing.T) {
	const vm = "0123456789abcdefghij"
	for question, answered := range map[string]bool{
		vm + "@coppice's password: ":                           true,
		vm + "+bob@coppice's password: ":                       true,
		vm + "+b@x@coppice's password: ":                       true,
		"bob@jump.example's password: ":                        false,
		"bob@coppice's password: ":                             false,
		"@coppice's password: ":                                false,
		vm + "@jump.example's password: ":                      false,
		vm + "@xcoppice's password: ":                          false,
		vm + "@coppice's password: \n":                         false,
		"(bob@jump.example) " + vm + "@coppice's password: ":   false,
		"Enter passphrase for key '/root/.ssh/id': password: ": false,
		"password: ": false,
	} {
		var out strings.Builder
		m := &Main{Stdout: &out, Getenv: func(name string) string { return map[string]string{askPassword: "secret"}[name] }}
		if got := m.answerSSH([]string{question}); got != answered || (out.String() == "secret\n") != answered {
			t.Errorf("%q: answered %v with %q", question, got, &out)
		}
	}
	m := &Main{Getenv: func(string) string { return "" }}
	if m.answerSSH([]string{vm + "@coppice's password: "}) {
		t.Error("answered without a password")
	}
}
