#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "data/io/file.h"
#include "data/io/printable.h"
#include "data/store/prepare.h"
#include "data/store/token_store.h"
#include "data/tokenizer/tokenizer_training.h"
#include "kernels/runtime/status.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/data_options.h"
#include "trainer/commands/make_task.h"
#include "trainer/commands/token_files.h"

namespace wyvern {
namespace {

template <typename Result>
absl::Status Print(const absl::StatusOr<Result>& result) {
  if (result.ok()) std::printf("%s\n", Printable(NameOptions(result->ToString())).c_str());
  return NameOptions(result.status());
}

absl::Status Info(const std::string& path, bool verify) {
  ASSIGN_OR_RETURN(const std::string text, DescribeStore(path, verify));
  std::printf("%s", Printable(text).c_str());
  if (text.empty() || text.back() != '\n') std::printf("\n");
  return absl::OkStatus();
}

// Options of a source, as the command line gives them.
struct SourceOptions {
  TextSourceOptions source;
  std::string separator, format = "auto", invalid_utf8 = "error", train_on = "all";
  std::string on_error = "error", dedup = "none";

  absl::StatusOr<TextSourceOptions> Read() const {
    TextSourceOptions read = source;
    ASSIGN_OR_RETURN(read.document_separator, UnescapeSeparator(separator));
    for (const TextFormat known : {TextFormat::kText, TextFormat::kJson, TextFormat::kChat}) {
      if (format == Name(known)) read.format = known;
    }
    if (train_on == "last") read.train_on = TrainedTurns::kLast;
    if (invalid_utf8 == "replace") read.invalid_utf8 = InvalidUtf8::kReplace;
    if (on_error == "skip") read.on_error = OnError::kSkip;
    if (dedup == "exact") read.dedup = Dedup::kExact;
    for (std::string& path : read.paths) {
      if (path == "-") path = "/dev/stdin";
    }
    return read;
  }
};

void AddSource(CLI::App* command, SourceOptions* options) {
  command
      ->add_option(
          "--input", options->source.paths,
          "Files of text or JSON lines (gzip, zstd, bzip2, xz too) or Parquet, and folders of "
          "them; @LIST: a file with such a path a line; -: stdin")
      ->required();
  command
      ->add_option("--field", options->source.field,
                   "JSON: the member that holds the text; Parquet: the column, as in meta.text")
      ->capture_default_str();
  command->add_option("--document-separator", options->separator,
                      "Text files: what stands between two documents, as in \"\\n\\n\"; without "
                      "it a file is one document");
  command
      ->add_option("--format", options->format,
                   "text, json (lines or an array of objects), chat (the same, of conversations) "
                   "or auto: what the content shows")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "text", "json", "chat"}));
  command
      ->add_option("--invalid-utf8", options->invalid_utf8,
                   "Bytes that are not UTF-8: error, or replace (by U+FFFD, with a count)")
      ->capture_default_str()
      ->check(CLI::IsMember({"error", "replace"}));
  command
      ->add_option("--on-error", options->on_error,
                   "A damaged record (line, row, document): error, or skip (with a count)")
      ->capture_default_str()
      ->check(CLI::IsMember({"error", "skip"}));
  command
      ->add_option("--dedup", options->dedup,
                   "exact: leave out documents that equal an earlier one; or none")
      ->capture_default_str()
      ->check(CLI::IsMember({"none", "exact"}));
}

absl::Status Train(TokenizerTrainOptions options, const SourceOptions& source) {
  absl::StatusOr<TextSourceOptions> read = source.Read();
  if (!read.ok()) return NameOptions(read.status());
  options.sources = {*std::move(read)};
  return Print(TrainTokenizer(options));
}

absl::Status Prepare(PrepareOptions options, const SourceOptions& source) {
  absl::StatusOr<TextSourceOptions> read = source.Read();
  if (!read.ok()) return NameOptions(read.status());
  options.source = *std::move(read);
  RETURN_IF_ERROR(MakeFolders(options.output_dir));
  return Print(PrepareStore(options));
}

void AddTokenizer(CLI::App* data, int* exit_code) {
  auto options = std::make_shared<TokenizerTrainOptions>();
  auto source = std::make_shared<SourceOptions>();
  CLI::App* command =
      data->add_subcommand("tokenizer",
                           "Train a SentencePiece tokenizer that falls back to bytes, or a "
                           "tokenizer.json of bytes");
  AddSource(command, source.get());
  command->add_option("--output", options->output, "Path of the .model or tokenizer.json file")
      ->required();
  auto type = std::make_shared<std::string>(Name(options->type));
  command->add_option("--type", *type, "bpe or unigram")
      ->capture_default_str()
      ->check(CLI::IsMember({"bpe", "unigram"}));
  auto* of_bytes = command->add_flag("--byte-level", options->is_byte_level,
                                     "bpe: write a tokenizer.json whose first tokens are the "
                                     "bytes, with tokenizer_config.json beside it");
  ByteLevelOptions& byte_level = options->byte_level;
  command
      ->add_option("--pattern", byte_level.pattern,
                   "How text is divided: gpt2, cl100k, o200k, llama3, qwen, kimi")
      ->capture_default_str()
      ->needs(of_bytes);
  command->add_option("--bos", byte_level.bos, "Special token of an empty prompt")->needs(of_bytes);
  command->add_option("--eos", byte_level.eos, "Special token that ends a document, or none")
      ->capture_default_str()
      ->needs(of_bytes);
  command->add_option("--pad", byte_level.pad, "Special token for padding")->needs(of_bytes);
  command
      ->add_option("--special-token", byte_level.specials,
                   "More special tokens, such as the markers of a chat template")
      ->needs(of_bytes);
  command->add_option("--vocab-size", options->vocab_size, "Number of tokens")
      ->capture_default_str();
  command
      ->add_option("--character-coverage", options->character_coverage,
                   "Share of the text's characters that get a token of their own")
      ->capture_default_str();
  command
      ->add_option("--sample-bytes", options->max_sample_bytes,
                   "Text used at most; a uniform sample of the lines")
      ->capture_default_str();
  command->add_option("--seed", options->seed, "Seed of the sample")->capture_default_str();
  command->add_option("--threads", options->num_threads, "0: every core")->capture_default_str();
  command->callback([=] {
    if (*type == Name(TokenizerType::kUnigram)) options->type = TokenizerType::kUnigram;
    if (options->byte_level.eos == "none") options->byte_level.eos.clear();
    *exit_code = ExitCode(Train(*options, *source));
  });
}

void AddPrepare(CLI::App* data, int* exit_code) {
  auto options = std::make_shared<PrepareOptions>();
  auto source = std::make_shared<SourceOptions>();
  CLI::App* command = data->add_subcommand(
      "prepare", "Turn text into token stores: train.h5 and, held out by document, val.h5");
  AddSource(command, source.get());
  command->add_option("--output", options->output_dir, "Folder of the stores")->required();
  command->add_option("--chat-template", source->source.chat_template,
                      "Conversations: a file of Jinja2, a tokenizer_config.json, or a folder with "
                      "either (default: that of the tokenizer's folder)");
  command
      ->add_option("--train-on", source->train_on,
                   "Conversations: the assistant's turns that are trained on, all or last")
      ->capture_default_str()
      ->check(CLI::IsMember({"all", "last"}));
  command
      ->add_option(
          "--tokenizer", options->tokenizer,
          "byte, or a SentencePiece model, a tokenizer.json, a tiktoken file, or their folder")
      ->capture_default_str();
  command->add_option(
      "--pattern", options->tokenizer_settings.pattern,
      "How text is divided for a tiktoken file: gpt2, cl100k, o200k, llama3, qwen, kimi");
  command->add_option(
      "--bos", options->tokenizer_settings.bos,
      "Token of an empty prompt and of --add-bos, or none (default: the tokenizer's files decide)");
  command->add_option(
      "--eos", options->tokenizer_settings.eos,
      "Token that ends a document, or none (default: the tokenizer's files decide)");
  command->add_flag("--add-bos", source->source.add_bos,
                    "Begin every document with the tokenizer's bos, unless the text does");
  auto* share = command->add_option("--val-fraction", options->val_fraction, "Share held out")
                    ->capture_default_str();
  command->add_option("--val-documents", options->val_documents, "Number held out")
      ->excludes(share);
  command->add_option("--seed", options->seed, "Seed of the choice of held-out documents")
      ->capture_default_str();
  command
      ->add_option(
          "--shard-bytes", options->shard_bytes,
          "Make shards of about so many bytes of input files, which read as one store; the "
          "same command on several hosts makes them together; 0: one store")
      ->capture_default_str();
  command
      ->add_option("--workers", options->workers,
                   "Shards: processes of this machine; no byte of the result depends on it")
      ->capture_default_str();
  command->add_option("--threads", options->num_threads, "Of each worker; 0: every core in all")
      ->capture_default_str();
  command->callback([=] { *exit_code = ExitCode(Prepare(*options, *source)); });
}

}  // namespace

void AddDataCommand(CLI::App& app, int* exit_code) {
  CLI::App* data = app.add_subcommand("data", "Tokenizers and token stores");
  data->require_subcommand(1);
  AddTokenizer(data, exit_code);
  AddPrepare(data, exit_code);
  AddTokenFileCommands(data, exit_code);
  AddMakeTaskCommand(data, exit_code);

  struct InfoOptions {
    std::string path;
    bool verify = false;
  };
  auto options = std::make_shared<InfoOptions>();
  CLI::App* info = data->add_subcommand("info", "Describe a token store");
  info->add_option("STORE", options->path, "An .h5 file, or FOLDER/train.h5 of shards")->required();
  info->add_flag("--verify", options->verify, "Read everything and compare every checksum");
  info->callback([=] { *exit_code = ExitCode(Info(options->path, options->verify)); });
}

}  // namespace wyvern
