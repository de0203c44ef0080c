// Says what tools of GitOps make of objects: kstatus, in the library of kpt and in that of Flux and Helm, and Argo CD, by our health.lua.
//
// Standard input is {"scripts": {KIND: LUA}, "objects": [OBJECT, ...]}; standard output a list with one verdict for each object.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	flux "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kpt "sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type input struct {
	Scripts map[string]string `json:"scripts"`
	Objects []json.RawMessage `json:"objects"`
}

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

type verdicts struct {
	Kpt  verdict `json:"kpt"`
	Flux verdict `json:"flux"`
	Argo verdict `json:"argo"`
}

func main() {
	answers, err := judge(os.Stdin)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(answers)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func judge(from io.Reader) ([]verdicts, error) {
	var asked input
	if err := json.NewDecoder(from).Decode(&asked); err != nil {
		return nil, fmt.Errorf("standard input: %w", err)
	}
	answers := make([]verdicts, 0, len(asked.Objects))
	for index, raw := range asked.Objects {
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(raw); err != nil {
			return nil, fmt.Errorf("object %d: %w", index, err)
		}
		answer, err := judgeOne(object, asked.Scripts)
		if err != nil {
			return nil, fmt.Errorf("object %d, %s: %w", index, object.GetKind(), err)
		}
		answers = append(answers, answer)
	}
	return answers, nil
}

func judgeOne(object *unstructured.Unstructured, scripts map[string]string) (verdicts, error) {
	byKpt, err := kpt.Compute(object)
	if err != nil {
		return verdicts{}, err
	}
	byFlux, err := flux.Compute(object)
	if err != nil {
		return verdicts{}, err
	}
	script, ok := scripts[object.GetKind()]
	if !ok {
		return verdicts{}, fmt.Errorf("no script for this kind")
	}
	byArgo, err := health(object, script)
	if err != nil {
		return verdicts{}, err
	}
	return verdicts{
		Kpt:  verdict{string(byKpt.Status), byKpt.Message},
		Flux: verdict{string(byFlux.Status), byFlux.Message},
		Argo: byArgo,
	}, nil
}
