#!/usr/bin/env python3
"""lm-eval's model `wyvern`: a checkpoint of Wyvern, scored by `wyvern score`; and metrics of recall.

  wyvern_lm.py run --model wyvern --model_args checkpoint=RUN --tasks TASKS     as lm_eval run
  wyvern_lm.py ls tasks                                                         any command of lm_eval

Other programs import this module and then find the model `wyvern` in lm-eval's registry, and the metrics `contains`
and `word_recall`, which `wyvern eval --tasks` has, too.
"""

import json
import os
import shlex
import subprocess
import tempfile

import lm_eval.api.metrics  # noqa: F401  (registers the aggregation `mean`)
from lm_eval.api.model import LM
from lm_eval.api.registry import register_metric, register_model
from lm_eval.models.utils import normalize_gen_kwargs


def lower(text):
    """Each character by itself, so that no text depends on what stands beside it."""
    return "".join(character.lower() for character in text)


@register_metric(metric="contains", higher_is_better=True, output_type="generate_until", aggregation="mean")
def contains(references, predictions):
    """Whether the text contains the target, whatever the case."""
    return float(lower(references[0]) in lower(predictions[0]))


@register_metric(metric="word_recall", higher_is_better=True, output_type="generate_until", aggregation="mean")
def word_recall(references, predictions):
    """The share of the target's words, which spaces divide, that the text contains, whatever the case."""
    words = [word for word in references[0].split(" ") if word]
    text = lower(predictions[0])
    return sum(lower(word) in text for word in words) / len(words) if words else 1.0


@register_model("wyvern")
class WyvernLM(LM):
    """Every method writes its requests to a file, which one call of `wyvern score` answers.

    checkpoint      folder of a checkpoint, or of a run, whose newest one is taken
    wyvern          the program, as "wyvern" or "mpirun -n 8 wyvern"; default: $WYVERN, else `wyvern`
    max_length      tokens that the model reads of a request at most; 0: any number
    add_bos_token   begin every text with bos
    max_gen_toks    new tokens where a task does not say how many
    tokenizer       has no effect here: RULER's tasks count tokens by it
    device, precision, batch_tokens    as the options of `wyvern score`
    """

    def __init__(self, checkpoint, wyvern=None, max_length=0, add_bos_token=False, max_gen_toks=256,
                 tokenizer=None, device=None, precision="auto", batch_tokens=4096, batch_size=None,
                 max_batch_size=None):
        super().__init__()  # batches are counted in tokens: lm-eval's batch sizes have no meaning
        self.max_gen_toks = int(max_gen_toks)
        self.checkpoint = str(checkpoint)
        device = "cpu" if device == "cpu" else "auto"  # lm-eval's default names a GPU
        self.command = [
            *shlex.split(wyvern or os.environ.get("WYVERN", "wyvern")), "score",
            self.checkpoint, f"--max-length={int(max_length)}", f"--batch-tokens={int(batch_tokens)}",
            f"--device={device}", f"--precision={precision}"]
        if str(add_bos_token).lower() == "true":
            self.command.append("--add-bos")

    @property
    def tokenizer_name(self):
        return self.checkpoint

    def score(self, requests):
        """The answers of `wyvern score`, in the order of the requests."""
        if not requests:
            return []
        with tempfile.TemporaryDirectory(prefix="wyvern_lm_") as folder:
            asked, answered = os.path.join(folder, "requests"), os.path.join(folder, "answers")
            with open(asked, "w", encoding="utf-8") as file:
                file.writelines(json.dumps(request) + "\n" for request in requests)
            done = subprocess.run([*self.command, asked, "--output", answered], check=False)
            if done.returncode != 0:
                raise RuntimeError(f"exit code {done.returncode} of: {' '.join(done.args)}")
            with open(answered, encoding="utf-8") as file:
                return [json.loads(line) for line in file]

    def keep(self, kind, requests, results):
        """Tells lm-eval's cache."""
        for request, result in zip(requests, results, strict=True):
            self.cache_hook.add_partial(kind, request.args, result)
        return results

    def loglikelihood(self, requests, disable_tqdm=False):
        answers = self.score(
            [{"context": context, "continuation": continuation}
             for context, continuation in (request.args for request in requests)])
        return self.keep("loglikelihood", requests,
                         [(a["log_likelihood"], a["is_greedy"]) for a in answers])

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        answers = self.score([{"text": request.args[0]} for request in requests])
        return self.keep("loglikelihood_rolling", requests, [a["log_likelihood"] for a in answers])

    def generate_until(self, requests, disable_tqdm=False):
        prompts = []
        for context, options in (request.args for request in requests):
            options = normalize_gen_kwargs(options, self.max_gen_toks)
            prompt = {"prompt": context, "max_tokens": options["max_gen_toks"],
                      "until": [stop for stop in options["until"] if stop],
                      "temperature": options.get("temperature", 0.0)}
            prompt.update({key: options[key] for key in ("top_k", "top_p") if key in options})
            prompts.append(prompt)
        return self.keep("generate_until", requests, [a["text"] for a in self.score(prompts)])


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
