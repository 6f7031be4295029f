#include "trainer/commands/make_task.h"

#include <cstdio>
#include <limits>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "data/io/bounded_file.h"
#include "data/io/file.h"
#include "data/io/output_file.h"
#include "data/tokenizer/tokenizer.h"
#include "kernels/runtime/status.h"
#include "trainer/commands/command.h"
#include "trainer/evaluation/recall_task.h"

namespace wyvern {
namespace {

struct Options {
  std::string kind, tokenizer, haystack, output;
  RecallTaskOptions task;
};

absl::Status MakeTask(const Options& options) {
  RecallTaskOptions wanted = options.task;
  ASSIGN_OR_RETURN(wanted.kind, FindRecallKind(options.kind));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, LoadTokenizer(options.tokenizer));
  if (NeedsEssay(wanted.kind)) {
    if (options.haystack.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--haystack: ", options.kind, " hides needles in a text; name its file"));
    }
    ASSIGN_OR_RETURN(wanted.essay, ReadFileOf(kHaystackFile, options.haystack));
  } else if (!options.haystack.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--haystack: ", options.kind, " writes its haystack itself"));
  }
  RETURN_IF_ERROR(MakeFolders(options.output));
  ASSIGN_OR_RETURN(const RecallTask task, MakeRecallTask(wanted, *tokenizer));
  const std::string path = absl::StrCat(options.output, "/", task.name);
  // The task comes last: where it is, its documents are.
  ASSIGN_OR_RETURN(Output documents, ClaimFile(path + ".jsonl"));
  ASSIGN_OR_RETURN(Output yaml, ClaimFile(path + ".yaml"));
  RETURN_IF_ERROR(documents.CommitFile(task.documents));
  RETURN_IF_ERROR(yaml.CommitFile(task.yaml));
  std::printf("%s.yaml\n", path.c_str());
  return absl::OkStatus();
}

}  // namespace

void AddMakeTaskCommand(CLI::App* data, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = data->add_subcommand(
      "make-task", "Write a task of recall of any length, for eval --tasks and for lm-eval");
  command
      ->add_option("KIND", options->kind,
                   "niah_single_1 to 3, niah_multikey_1 to 3: needles in a haystack; vt: variables "
                   "that are assigned to one another")
      ->required()
      ->check(CLI::IsMember(RecallKindNames()));
  command
      ->add_option("--tokenizer", options->tokenizer,
                   "By which the length is counted: byte, or a SentencePiece model, a "
                   "tokenizer.json, a tiktoken file, or their folder")
      ->required();
  command
      ->add_option("-o,--output", options->output,
                   "Folder that gets KIND_TOKENS.yaml and KIND_TOKENS.jsonl")
      ->required();
  const int64_t most = std::numeric_limits<int32_t>::max();
  command
      ->add_option("--tokens", options->task.tokens,
                   "Tokens of a prompt and its answer together, at most")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, most));
  command->add_option("--samples", options->task.samples, "Documents")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, most));
  command->add_option("--seed", options->task.seed, "Seed of keys, values and places")
      ->capture_default_str();
  command->add_option("--haystack", options->haystack,
                      "Text of niah_single_2, niah_single_3 and niah_multikey_1, such as essays; "
                      "it repeats where it is too short");
  command->callback([=] { *exit_code = ExitCode(MakeTask(*options)); });
}

}  // namespace wyvern
