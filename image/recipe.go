package image

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// recipe is the directory a base image is made from:
//
//	packages   names of Debian packages, one a line
//	root/      files that are laid over the root
//	customize  the script that mmdebstrap runs when the packages are there
//	trim       the part of it that makes the boot short
//
//go:embed all:recipe
var recipe embed.FS

// diskMiB is the size of the root disk. It is sparse, and a VM's may be larger.
const diskMiB = 16 << 10

// format changes when this package makes other files of the same recipe.
const format = 1

// recipeKey identifies the recipe, with all that this package adds to it.
func recipeKey() (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, format, suite, diskMiB, Cmdline, drivers, mkfsOptions)
	err := fs.WalkDir(recipe, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := recipe.ReadFile(name)
		fmt.Fprintln(h, name, len(data))
		h.Write(data)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:16], err
}

// packages returns the packages of the recipe.
func packages() ([]string, error) {
	data, err := recipe.ReadFile("recipe/packages")
	return strings.Fields(string(data)), err
}

// writeRecipe writes the recipe into a new directory dir, its scripts executable.
func writeRecipe(dir string) error {
	sub, err := fs.Sub(recipe, "recipe")
	if err != nil {
		return err
	}
	if err := os.CopyFS(dir, sub); err != nil {
		return err
	}
	for _, script := range []string{"customize", "trim"} {
		if err := os.Chmod(filepath.Join(dir, script), 0o755); err != nil {
			return err
		}
	}
	return nil
}
