package peers

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
)

//go:embed mpibench.c
var source []byte

// DefaultDir returns the folder of the programs, outboard/peers in the user's cache.
func DefaultDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no folder for the peers' programs: %w", err)
	}
	return filepath.Join(cache, "outboard", "peers"), nil
}

// program returns where the library's program is in dir. The name carries the source's sum, so a program of another version
// is never taken for this one; install.sh makes the same names.
func (l *library) program(dir string) string {
	sum := sha256.Sum256(source)
	return filepath.Join(dir, "mpibench-"+hex.EncodeToString(sum[:])[:12]+"."+l.name)
}

// build compiles the program unless it is there, and returns its path.
func (l *library) build(ctx context.Context, dir string) (string, error) {
	program := l.program(dir)
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	scratch, err := os.MkdirTemp(dir, "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(scratch)
	file, built := filepath.Join(scratch, "mpibench.c"), filepath.Join(scratch, "mpibench")
	if err := os.WriteFile(file, source, 0o644); err != nil {
		return "", err
	}
	// The warning is about MPICH's MPI_STATUSES_IGNORE, the constant 1, which looks to GCC like an array that is too short.
	_, err = output(ctx, nil, l.compiler, "-std=c11", "-O2", "-Wno-stringop-overflow", "-o", built, file)
	if err != nil {
		return "", err
	}
	return program, os.Rename(built, program)
}
