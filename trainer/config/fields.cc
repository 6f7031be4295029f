#include "trainer/config/fields.h"

#include <algorithm>

namespace wyvern {
namespace {

constexpr char kWithoutExperts[] = "a model without experts (model.moe)";

// One of the named values; "auto": unset.
template <typename T>
void EnumeratedOrAuto(ConfigVisitor& v, const std::string& key,
                      const std::vector<std::pair<std::string, T>>& values, std::optional<T>* value,
                      const KeyDoc& doc) {
  std::vector<std::string> names = {"auto"};
  int index = 0;
  for (const auto& [name, one] : values) {
    if (*value == one) index = static_cast<int>(names.size());
    names.push_back(name);
  }
  v.Choice(key, names, &index, doc);
  value->reset();
  if (index > 0) *value = values[static_cast<size_t>(index) - 1].second;
}

// The keys of how text is read.
void VisitText(ConfigVisitor& v, TextSourceOptions* text) {
  v.Value("field", &text->field,
          "Member of a JSON object, or column of a Parquet file, that holds the text.");
  v.Value("document_separator", &text->document_separator,
          "Text that stands between documents of a text file; empty: a file is one document.");
  v.Enumerated("format", {"auto", "text", "json", "chat"}, &text->format,
               "Format of the files; auto: what the content shows; chat: JSON whose objects "
               "are conversations, of which the assistant's turns are trained on.");
  v.Only(text->format == TextFormat::kChat, std::string("format: ") + Name(text->format),
         [text](ConfigVisitor& chat) {
           chat.Value("chat_template", &text->chat_template,
                      "Chat template: a file of Jinja2, a tokenizer_config.json, or a folder "
                      "with either; empty: that of the tokenizer's folder.");
           chat.Enumerated("train_on", {"all", "last"}, &text->train_on,
                           "Turns of the assistant that are trained on.");
         });
  v.Value("add_bos", &text->add_bos,
          "Whether every document begins with the tokenizer's bos, as documents of Llama's "
          "tokenizers do; one that has it already gets no other. All end with eos.");
  v.Enumerated("invalid_utf8", {"error", "replace"}, &text->invalid_utf8,
               "What to do with bytes that are not UTF-8: stop, or replace them.");
  v.Enumerated("on_error", {"error", "skip"}, &text->on_error,
               "What to do with a damaged record (line, row, document): stop, or leave it out "
               "and count it.");
  v.Enumerated("dedup", {"none", "exact"}, &text->dedup,
               "exact: documents of this source that equal an earlier one are left out.");
}

void VisitPacking(ConfigVisitor& v, SamplePacking* packing) {
  v.Enumerated("packing", {"split", "whole"}, packing,
               "How documents fill samples; split: end to end, cut where a sample ends; whole: no "
               "document is split, and padding fills the rest, as conversations need it.");
}

constexpr char kNoText[] = "a source without text";
constexpr char kNoTokens[] = "a source without token files (tokens)";
constexpr char kStoresExist[] = "stores that exist already (no text)";

void VisitShards(ConfigVisitor& v, DataSource* s) {
  v.Value(
      "shard_bytes", &s->shard_bytes,
      {"With text: size of a shard, in bytes of files as they lie on disk; 0: one store. Shards "
       "are made by several processes or hosts at once, and read as one store.",
       "[0, inf)", "bytes"});
  v.Only(s->shard_bytes != 0, "shard_bytes: 0", [s](ConfigVisitor& only) {
    only.Value(
        "workers", &s->workers,
        {"Processes that make the shards; no byte of them depends on it. One rank of several "
         "makes them alone, with its threads.",
         "[1, 4096]"});
  });
}

void VisitTokenFiles(ConfigVisitor& v, TokenFilesSource* c) {
  v.Enumerated("token_format", {"auto", "megatron", "llm.c", "datatrove", "npy", "raw"}, &c->format,
               "With tokens: format of the files; auto: what name and content show.");
  std::vector<std::pair<std::string, TokenDtype>> dtypes;
  for (const std::string& name : TokenDtypeNames()) {
    dtypes.emplace_back(name, *ParseTokenDtype(name));
  }
  EnumeratedOrAuto(v, "token_dtype", dtypes, &c->dtype,
                   "With tokens: type of the values, for files that do not say it.");
  v.Enumerated("document_end", {"file", "eos"}, &c->document_end,
               "With tokens: where documents end: where index or rows say, else with the file; or "
               "behind each eos, across files too.");
  v.Value("vocab_size", &c->vocab_size,
          {"With tokens and tokenizer.type: store: number of ids; 0: the tokenizer says it.",
           "[0, 2147483647]"});
  v.Only(c->vocab_size != 0, "vocab_size: 0", [c](ConfigVisitor& only) {
    only.Value("eos", &c->eos,
               {"Id that closes a document; it is added where it is absent.", "[0, 2147483647]"});
  });
}

void VisitSource(ConfigVisitor& v, DataSource* s, bool only_source) {
  v.Value("dir", &s->dir, {"Folder of the token stores train.h5 and val.h5.", "not empty"});
  v.Value("text", &s->text.paths,
          "Files and folders of text, JSON lines or Parquet, or @LIST, a file that lists such; the "
          "stores are made from them unless they exist.");
  v.Only(!s->text.paths.empty(), kNoText, [s](ConfigVisitor& only) {
    VisitText(only, &s->text);
    VisitShards(only, s);
  });
  v.Value("tokens", &s->tokens.paths,
          "Token files of other programs, in the place of text: Megatron-LM's .bin, llm.c's .bin, "
          "datatrove's .ds, NumPy's .npy; the stores are made from them unless they exist.");
  v.Only(!s->tokens.paths.empty(), kNoTokens,
         [s](ConfigVisitor& only) { VisitTokenFiles(only, &s->tokens); });
  v.Only(s->HasInput(), kStoresExist, [s](ConfigVisitor& only) {
    only.Value(
        "val_documents", &s->val_documents,
        {"With text or tokens: documents held out for validation, instead of val_fraction; 0: "
         "val_fraction decides. A source with shard_bytes takes val_fraction.",
         "[0, inf)", "documents"});
    only.Only(s->val_documents == 0, "val_documents", [s](ConfigVisitor& inner) {
      inner.Value(
          "val_fraction", &s->val_fraction,
          {"With text or tokens: fraction of the documents held out for validation.", "[0, 1)"});
    });
  });
  VisitPacking(v, &s->packing);
  v.Only(!only_source, "a single source", [s](ConfigVisitor& only) {
    only.Value("weight", &s->weight,
               {"Weight of the source in the mixture, whose share of all weights is its share of "
                "the training tokens. Every source has one, or none has, and then their sizes "
                "decide; 0 is none.",
                "[0, 1e9]"});
  });
}

void VisitData(ConfigVisitor& v, DataSection* c) {
  v.Describe("The sources of tokens, which are mixed.");
  v.List(
      "sources", [c] { return c->sources.size(); }, [c](size_t size) { c->sources.resize(size); },
      [c](size_t i, ConfigVisitor& entry) {
        VisitSource(entry, &c->sources[i], c->sources.size() == 1);
      });
  v.Value("seq_len", &c->seq_len, {"Length of a sample.", "[1, 2147483647]", "tokens"});
  v.Enumerated("document_boundary", {"none", "reset"}, &c->document_boundary,
               "reset: state, convolution and attention stop at the end of a document; none: they "
               "run through.");
}

void VisitTokenizer(ConfigVisitor& v, TokenizerSection* c) {
  const std::vector<std::string> types = {"store", "byte", "file", "bpe", "unigram"};
  v.Enumerated(
      "type", types, &c->type,
      "store: the one in the token stores; byte: every byte is a token; file: a "
      "SentencePiece model, a tokenizer.json or a tiktoken file; bpe, unigram: trained on the "
      "text unless `path` exists.");
  const std::string instead = "type: " + types[static_cast<int>(c->type)];
  const bool trained = IsTrained(c->type);
  v.Only(trained || c->type == TokenizerType::kFile, instead, [c](ConfigVisitor& only) {
    only.Value("path", &c->path,
               {"file: path of it, or of its folder; bpe, unigram: path of the SentencePiece "
                "model, read or written; byte_level: of the tokenizer.json, likewise.",
                "not empty"});
  });
  v.Only(c->type == TokenizerType::kBpe, instead, [c](ConfigVisitor& only) {
    only.Value("byte_level", &c->byte_level,
               "bpe: train a tokenizer.json whose first tokens are the bytes, as GPT-2's and "
               "Llama 3's are; false: a SentencePiece model.");
  });
  v.Only(trained, instead, [c](ConfigVisitor& only) {
    only.Value(
        "vocab_size", &c->vocab_size,
        {"bpe, unigram: vocabulary to train; at most model.vocab_size.", "[260, inf)", "tokens"});
  });
  const bool of_bytes = c->type == TokenizerType::kBpe && c->byte_level;
  const std::string without = trained ? "byte_level: false" : instead;
  v.Only(of_bytes || c->type == TokenizerType::kFile, without, [c](ConfigVisitor& only) {
    only.Value(
        "pattern", &c->settings.pattern,
        {"How text is divided, one of gpt2, cl100k, o200k, llama3, qwen and kimi. file: for a "
         "tiktoken file; other files say it themselves. byte_level: empty is gpt2."});
    only.Value("bos", &c->settings.bos,
               {"The token of an empty prompt and of an exported config.json, or none; documents "
                "begin with it where a source has add_bos. Empty: the tokenizer's files decide; "
                "byte_level: none."});
    only.Value("eos", &c->settings.eos,
               {"The token that ends a document, or none. Empty: the tokenizer's files decide; "
                "byte_level: that of GPT-2."});
  });
  v.Only(of_bytes, without, [c](ConfigVisitor& only) {
    only.Value(
        "pad", &c->pad,
        {"byte_level: the token that tokenizer_config.json names for padding; empty: none."});
    only.Value("special_tokens", &c->special_tokens,
               "byte_level: more special tokens, such as the markers of a chat template. bos, eos, "
               "pad and these have the first ids.");
  });
}

void VisitTrain(ConfigVisitor& v, bool has_experts, bool has_stages, TrainSection* c) {
  v.Only(!has_stages, "stages", [c](ConfigVisitor& only) {
    only.Value("steps", &c->steps,
               {"Length of the run; give this or train.tokens.", "[0, 9007199254740992]", "steps"});
    only.Value("tokens", &c->tokens,
               {"Length of the run, rounded up to whole steps; give this or train.steps.",
                "[0, 9007199254740992]", "tokens"});
  });
  v.Value(
      "batch_tokens", &c->batch_tokens,
      {"Batch of one step over all ranks; a multiple of seq_len.", "[1, 1099511627776]", "tokens"});
  v.CountOr(
      "auto", "micro_batch", &c->micro_batch,
      {"Most samples of one forward and backward on a rank; the rest of its share of the batch "
       "is gradient accumulation; auto: the most that is planned to fit into memory.",
       "[1, inf)", "samples"});
  v.Value(
      "grad_clip", &c->grad_clip,
      {"Largest norm of the whole gradient, to which a larger one is scaled down; 0: no clipping.",
       "[0, inf)"});
  v.Enumerated(
      "recompute", kRecomputeNames, &c->recompute,
      "Activation checkpointing inside a block; fused: the backward recomputes norms and gates, at "
      "little cost; elementwise: also convolutions; projections: also the delta mixers' inputs.");
  v.CountOr("all", "recompute_blocks", &c->recompute_blocks,
            {"Leading blocks with full activation checkpointing; at most num_layers, which all "
             "stands for.",
             "[0, inf)", "blocks"});
  v.Enumerated("nonfinite", {"skip", "stop"}, &c->nonfinite,
               "What to do with a step whose loss or gradient is not finite, on all ranks alike.");
  v.Only(has_experts, kWithoutExperts, [c](ConfigVisitor& only) {
    only.Value("balance_rate", &c->balance_rate,
               {"Step size of the routers' correction biases, which move against the expert loads "
                "of each batch; 0: they stay.",
                "[0, inf)"});
    only.Value(
        "balance_loss", &c->balance_loss,
        {"Weight of the sequence-wise balance loss, with documents as its sequences; 0: none.",
         "[0, inf)"});
  });
  if (v.Has("init_from", !c->init_from.empty())) {
    v.Value(
        "init_from", &c->init_from,
        "Checkpoint folder, RUN@STEP, run folder or Hugging Face folder with whose weights the run "
        "begins, at step 0 and with a fresh optimizer; empty: weights are drawn.");
  }
  v.Only(!c->init_from.empty(), "no init_from", [c](ConfigVisitor& only) {
    only.Enumerated(
        "init_missing", {"error", "init"}, &c->init_missing,
        "What to do with tensors that init_from lacks or has in another shape: stop, or "
        "draw them.");
    only.Enumerated(
        "init_extra", {"error", "ignore"}, &c->init_extra,
        "What to do with tensors of init_from that the model lacks: stop, or leave them "
        "out.");
    only.Enumerated(
        "init_vocab", {"error", "resize"}, &c->init_vocab,
        "What to do with a vocabulary of another size: stop, or copy the rows that both "
        "have and draw the others.");
  });
}

void VisitParallel(ConfigVisitor& v, bool has_experts, ParallelSection* c) {
  v.Value("replicate", &c->mesh.replicate,
          {"Replicas of each shard; -1: what the other axes leave of the ranks.", "[1, 1048576]",
           "ranks"});
  v.Value("shard", &c->mesh.shard,
          {"Ranks of a shard group; replicate x shard are the data-parallel ranks; -1: what the "
           "other axes leave.",
           "[1, 1048576]", "ranks"});
  v.Value("context", &c->mesh.context,
          {"Context-parallel ranks, which divide the tokens of each sample; -1: what the other "
           "axes leave.",
           "[1, 1048576]", "ranks"});
  v.Only(has_experts, kWithoutExperts, [c](ConfigVisitor& only) {
    only.Value("expert", &c->mesh.expert,
               {"Expert-parallel ranks, each with a part of the experts of a layer, a divisor of "
                "num_experts; they are ranks of the other axes.",
                "[1, 1024]", "ranks"});
  });
  v.Only(c->mesh.shard != 1, "shard: 1", [c](ConfigVisitor& only) {
    only.Value("zero", &c->zero,
               {"ZeRO stage within a shard group: 1 shards optimizer state and master weights, 2 "
                "also gradients, 3 also parameters.",
                "[1, 3]"});
  });
  v.Value("timeout", &c->timeout,
          {"Longest wait for another rank, after which the run ends with a message.", "(0, 1e9]",
           "seconds"});
  v.Value("start_timeout", &c->start_timeout,
          {"Longest wait for all ranks to come; 0: `timeout`. WYVERN_RENDEZVOUS_TIMEOUT in the "
           "environment goes before it.",
           "[0, 1e9]", "seconds"});
}

void VisitOptimizer(ConfigVisitor& v, OptimizerSection* c) {
  v.Enumerated("type", {"adamw", "muon"}, &c->type,
               "adamw: AdamW for all parameters; muon: Muon for the matrices of the blocks, AdamW "
               "for the rest.");
  v.Value("beta1", &c->beta1, {"AdamW: decay of the first moment.", "[0, 1)"});
  v.Value("beta2", &c->beta2, {"AdamW: decay of the second moment.", "[0, 1)"});
  v.Value("epsilon", &c->epsilon,
          {"AdamW: added to the square root of the second moment.", "(0, inf)"});
  v.Only(c->type == OptimizerType::kMuon, "type: adamw", [c](ConfigVisitor& only) {
    only.Value("momentum", &c->momentum, {"Muon: decay of the Nesterov momentum.", "[0, 1)"});
  });
  v.Value("weight_decay", &c->weight_decay,
          {"Decoupled weight decay, times the learning rate; never on biases, A_log and dt_bias.",
           "[0, inf)"});
  v.Only(c->weight_decay != 0, "weight_decay: 0", [c](ConfigVisitor& only) {
    only.Value("decay_convolutions", &c->decay_convolutions,
               "Whether weight decay acts on convolutions.");
    only.Value("decay_embeddings", &c->decay_embeddings,
               "Whether weight decay acts on the embedding and the head.");
    only.Value("decay_norms", &c->decay_norms, "Whether weight decay acts on the gains of norms.");
  });
  v.Value("qk_clip", &c->qk_clip,
          {"Largest attention logit of a head; after an update with a larger one its W_q and W_k "
           "are scaled down to it (QK-clip); 0: off.",
           "[0, inf)"});
}

void VisitSchedule(ConfigVisitor& v, ScheduleSection* c) {
  const std::vector<std::string> types = {"constant", "linear", "cosine", "wsd"};
  v.Enumerated(
      "type", types, &c->type,
      "Shape of the learning rate after the warm-up; wsd: constant, then a decay at the end.");
  const std::string instead = "type: " + types[static_cast<int>(c->type)];
  v.Value("peak", &c->peak, {"Learning rate after the warm-up.", "(0, inf)"});
  v.Value("warmup_steps", &c->warmup_steps,
          {"Length of the warm-up; give at most one of warmup_steps and warmup_tokens.",
           "[0, 9007199254740992]", "steps"});
  v.Value("warmup_tokens", &c->warmup_tokens,
          {"Length of the warm-up, rounded up to whole steps.", "[0, 9007199254740992]", "tokens"});
  v.Only(c->warmup_steps != 0 || c->warmup_tokens != 0, "no warm-up", [c](ConfigVisitor& only) {
    only.Value("initial", &c->initial,
               {"Learning rate of the first update, where the warm-up starts; at most `peak`.",
                "[0, inf)"});
  });
  v.Only(c->type != ScheduleType::kConstant, instead, [c](ConfigVisitor& only) {
    only.Value("final", &c->final,
               {"linear, cosine, wsd: learning rate at the end of the decay; at most `peak`.",
                "[0, inf)"});
  });
  v.Only(c->type == ScheduleType::kWsd, instead, [c](ConfigVisitor& only) {
    only.Value(
        "decay_steps", &c->decay_steps,
        {"wsd: length of the decay; give this or decay_tokens.", "[0, 9007199254740992]", "steps"});
    only.Value("decay_tokens", &c->decay_tokens,
               {"wsd: length of the decay, rounded up to whole steps.", "[0, 9007199254740992]",
                "tokens"});
    only.Enumerated("decay_shape", {"linear", "cosine", "1-sqrt"}, &c->decay_shape,
                    "wsd: shape of the decay.");
  });
}

void VisitStage(ConfigVisitor& v, bool has_experts, StageSection* c) {
  v.Value("name", &c->name, {"Name of the stage: letters, digits, '.', '_' and '-'.", "not empty"});
  v.Value("steps", &c->steps,
          {"Length of the stage; give this or `tokens`.", "[0, 9007199254740992]", "steps"});
  v.Value("tokens", &c->tokens,
          {"Length of the stage, rounded up to whole steps; give this or `steps`.",
           "[0, 9007199254740992]", "tokens"});
  v.Value("seq_len", &c->seq_len, {"Length of a sample; 0: data.seq_len.", "[0, inf)", "tokens"});
  v.Value("batch_tokens", &c->batch_tokens,
          {"Batch of one step; 0: train.batch_tokens.", "[0, 1099511627776]", "tokens"});
  v.Value("micro_batch", &c->micro_batch,
          {"Samples of one forward and backward; 0: train.micro_batch.", "[0, inf)", "samples"});
  EnumeratedOrAuto(v, "document_boundary",
                   {{"none", DocumentBoundary::kNone}, {"reset", DocumentBoundary::kReset}},
                   &c->document_boundary, "auto: data.document_boundary.");
  if (v.Has("sources", !c->sources.empty())) {
    v.Describe(
        "The mixture of the stage, in place of data.sources. A folder that is named before "
        "continues "
        "where it was, and needs no `text`.");
    v.List(
        "sources", [c] { return c->sources.size(); }, [c](size_t size) { c->sources.resize(size); },
        [c](size_t i, ConfigVisitor& entry) {
          VisitSource(entry, &c->sources[i], c->sources.size() == 1);
        });
  }
  v.Only(has_experts, kWithoutExperts, [c](ConfigVisitor& only) {
    only.Value("balance_rate", &c->balance_rate,
               {"Replaces train.balance_rate in this stage.", "[0, inf)"});
  });
  v.Section("schedule", "Learning rate of the stage, whose updates count from 0.",
            [c](ConfigVisitor& keys) { VisitSchedule(keys, &c->schedule); });
}

void VisitValidationSet(ConfigVisitor& v, ValidationSet* c) {
  v.Value("name", &c->name, {"Name of the set: letters, digits, '.', '_' and '-'.", "not empty"});
  v.Value("dir", &c->dir,
          {"Folder whose val.h5 is the set; with `text`, the folder that gets its store.",
           "not empty"});
  v.Value("text", &c->text.paths,
          "Files and folders of text, JSON lines or Parquet, or @LIST, all of which is the set; a "
          "store is made of it unless it exists.");
  v.Only(!c->text.paths.empty(), kStoresExist,
         [c](ConfigVisitor& only) { VisitText(only, &c->text); });
  v.Value("batches", &c->batches,
          {"Batches of 8 samples, spread evenly over the set; 0: validation.batches.",
           "[0, 2147483647]"});
  VisitPacking(v, &c->packing);
}

void VisitValidation(ConfigVisitor& v, ValidationSection* c) {
  v.Value("every", &c->every,
          {"Steps between validations, with one before the first step and one after the last; "
           "0: never.",
           "[0, inf)", "steps"});
  v.Only(c->every != 0, "every: 0", [c](ConfigVisitor& only) {
    only.Value("batches", &c->batches,
               {"Batches of 8 samples of each val.h5, spread evenly over it.", "[1, 2147483647]"});
    if (!only.Has("sets", !c->sets.empty())) return;
    only.Describe(
        "Sets with a loss of their own, beside the validation loss over the held-out documents of "
        "data.sources.");
    only.List(
        "sets", [c] { return c->sets.size(); }, [c](size_t size) { c->sets.resize(size); },
        [c](size_t i, ConfigVisitor& entry) { VisitValidationSet(entry, &c->sets[i]); });
  });
}

void VisitEvaluation(ConfigVisitor& v, EvaluationSection* c) {
  v.Value(
      "every", &c->every,
      {"Steps between evaluations, with one after the last step; 0: never.", "[0, inf)", "steps"});
  v.Only(c->every != 0, "every: 0", [c](ConfigVisitor& only) {
    only.Value("tasks", &c->tasks,
               "Files of tasks in lm-eval's form (docs/evaluation.md), one at least.");
    only.Value("limit", &c->limit,
               {"Documents of each task, the first ones; 0: all.", "[0, 2147483647]"});
    only.Value("max_length", &c->max_length,
               {"Tokens that the model reads of a request at most: contexts are cut from the left, "
                "long texts divided into windows; 0: any number.",
                "[0, 2147483647]", "tokens"});
  });
}

void VisitGenerate(ConfigVisitor& v, GenerateSection* c) {
  v.Value("prompt", &c->prompt,
          "Prompt of the text that is generated after training; empty: none is.");
  v.Only(!c->prompt.empty(), "an empty prompt", [c](ConfigVisitor& only) {
    only.Value("tokens", &c->tokens, {"Length of the text.", "[1, 2147483647]", "tokens"});
    only.Value("temperature", &c->sampling.temperature,
               {"Temperature of sampling; 0: greedy.", "[0, inf)"});
    only.Only(c->sampling.temperature != 0, "temperature: 0", [c](ConfigVisitor& inner) {
      inner.Value(
          "top_k", &c->sampling.top_k,
          {"Sampling only from this many most likely tokens; 0: from all.", "[0, inf)", "tokens"});
      inner.Value(
          "top_p", &c->sampling.top_p,
          {"Nucleus sampling: from the most likely tokens that together have this probability.",
           "(0, 1]"});
      inner.Value("seed", &c->sampling.seed, "Seed of sampling.");
    });
  });
}

}  // namespace

const std::vector<std::string> kRecomputeNames = {"none", "fused", "elementwise", "projections"};

void VisitRunConfig(ConfigVisitor& v, RunConfig* c) {
  v.Section("run", "The run itself.", [c](ConfigVisitor& keys) {
    keys.Value("name", &c->run.name,
               {"Name of the run: letters, digits, '.', '_' and '-'.", "not empty"});
    keys.Value("dir", &c->run.dir, "Run folder; empty: runs/NAME.");
    if (keys.Has("branch_of", !c->run.branch_of.empty())) {
      keys.Value(
          "branch_of", &c->run.branch_of,
          "Checkpoint or run folder that the run continues in its own folder, with optimizer "
          "state and data position, unless it has a checkpoint of its own; empty: none.");
    }
    keys.Value("seed", &c->run.seed,
               "Seed of the initial parameters and of the order of the data.");
    EnumeratedOrAuto(keys, "device", {{"cpu", Device::kCpu}, {"cuda", Device::kCuda}},
                     &c->run.device, "Device; auto: CUDA if there is a GPU.");
    EnumeratedOrAuto(keys, "precision", {{"fp32", DType::kFloat32}, {"bf16", DType::kBf16}},
                     &c->run.precision, "Compute dtype; auto: bf16 on a GPU, fp32 on the CPU.");
  });
  v.Section("model", "The architecture.",
            [c](ConfigVisitor& keys) { VisitModelConfig(keys, &c->model); });
  v.Section("tokenizer", "Where the tokenizer comes from.",
            [c](ConfigVisitor& keys) { VisitTokenizer(keys, &c->tokenizer); });
  v.Section("data", "The tokens to train on.",
            [c](ConfigVisitor& keys) { VisitData(keys, &c->data); });
  const bool has_experts = c->model.moe.has_value();
  v.Describe(
      "The training stages of the run, one after another, in place of train.steps, train.tokens "
      "and schedule.");
  v.List(
      "stages", [c] { return c->stages.size(); }, [c](size_t size) { c->stages.resize(size); },
      [=](size_t i, ConfigVisitor& entry) { VisitStage(entry, has_experts, &c->stages[i]); });
  const bool has_stages = !c->stages.empty();
  v.Section("train", "The training loop.",
            [=](ConfigVisitor& keys) { VisitTrain(keys, has_experts, has_stages, &c->train); });
  v.Section("parallel", "How the ranks of a run divide the work; without effect on one rank.",
            [=](ConfigVisitor& keys) { VisitParallel(keys, has_experts, &c->parallel); });
  v.Section("optimizer", "The update of the parameters.",
            [c](ConfigVisitor& keys) { VisitOptimizer(keys, &c->optimizer); });
  v.Only(!has_stages, "stages", [c](ConfigVisitor& only) {
    only.Section("schedule", "The learning rate.",
                 [c](ConfigVisitor& keys) { VisitSchedule(keys, &c->schedule); });
  });
  v.Section("validation", "The loss on held-out documents.",
            [c](ConfigVisitor& keys) { VisitValidation(keys, &c->validation); });
  if (v.Has("evaluation", c->evaluation.every != 0)) {
    v.Section("evaluation", "The scores of tasks, as `wyvern eval --tasks` gives them.",
              [c](ConfigVisitor& keys) { VisitEvaluation(keys, &c->evaluation); });
  }
  v.Section("checkpoint", "Checkpoints, written in the background.", [c](ConfigVisitor& keys) {
    keys.Value("every", &c->checkpoint.every,
               {"Steps between checkpoints, with one after the last step; 0: only that one.",
                "[0, inf)", "steps"});
    keys.CountOr("all", "keep", &c->checkpoint.keep,
                 {"Newest checkpoints that are kept.", "[1, inf)"});
    if (keys.Has("keep_every", c->checkpoint.keep_every != 0)) {
      keys.Only(c->checkpoint.keep != -1, "keep: all", [c](ConfigVisitor& only) {
        only.Value("keep_every", &c->checkpoint.keep_every,
                   {"Steps between checkpoints that are kept for good, a multiple of `every`; 0: "
                    "none.",
                    "[0, inf)", "steps"});
      });
    }
  });
  v.Section("logging", "The console and the metrics.", [c](ConfigVisitor& keys) {
    keys.Value("every", &c->logging.every,
               {"Steps between lines on a console that is no terminal.", "[1, inf)", "steps"});
    keys.Value("by_source", &c->logging.by_source,
               "Whether the metrics state the training loss and the epochs of each source.");
  });
  v.Section("generate", "A text that is generated after training.",
            [c](ConfigVisitor& keys) { VisitGenerate(keys, &c->generate); });
}

}  // namespace wyvern
