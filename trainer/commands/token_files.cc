#include "trainer/commands/token_files.h"

#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "data/io/printable.h"
#include "data/store/token_store.h"
#include "data/token_files/export_megatron.h"
#include "data/token_files/import_tokens.h"
#include "data/tokenizer/id_tokenizer.h"
#include "kernels/runtime/status.h"
#include "trainer/commands/command.h"
#include "trainer/commands/data_options.h"

namespace wyvern {
namespace {

struct ImportOptions {
  ImportTokensOptions tokens;
  std::string format = "auto", dtype = "auto", document_end = "file";
  std::string tokenizer;  // empty: vocab_size and eos
  int64_t vocab_size = 0, eos = 0;
};

absl::Status Import(const ImportOptions& options) {
  std::unique_ptr<Tokenizer> tokenizer;
  if (options.tokenizer.empty()) {
    ASSIGN_OR_RETURN(tokenizer, MakeIdTokenizer(options.vocab_size, options.eos));
  } else {
    ASSIGN_OR_RETURN(tokenizer, LoadTokenizer(options.tokenizer));
  }
  ImportTokensOptions tokens = options.tokens;
  tokens.file.format = ParseTokenFileFormat(options.format).value_or(TokenFileFormat::kAuto);
  tokens.file.dtype = ParseTokenDtype(options.dtype);
  if (options.document_end == "eos") tokens.document_end = DocumentEnd::kEos;
  ASSIGN_OR_RETURN(const ImportTokensResult result, ImportTokens(tokens, *tokenizer));
  std::printf("%s", Printable(result.ToString()).c_str());
  return absl::OkStatus();
}

absl::Status Export(const std::string& path, const std::string& prefix, LossMask loss_mask) {
  ASSIGN_OR_RETURN(const std::shared_ptr<TokenStore> store, TokenStore::Open(path));
  ASSIGN_OR_RETURN(const ExportMegatronResult result, ExportMegatron(*store, prefix, loss_mask));
  std::printf("%s\n", Printable(result.ToString()).c_str());
  return absl::OkStatus();
}

void AddImport(CLI::App* data, int* exit_code) {
  auto options = std::make_shared<ImportOptions>();
  ImportTokensOptions& tokens = options->tokens;
  CLI::App* command = data->add_subcommand(
      "import-tokens", "Turn the token files of other programs into token stores");
  command
      ->add_option("INPUT", tokens.paths,
                   "Files of tokens: Megatron-LM's .bin with .idx, llm.c's .bin, datatrove's .ds, "
                   "NumPy's .npy, or nothing but values")
      ->required();
  command->add_option("--output", tokens.split.output_dir, "Folder of the stores")->required();
  auto* tokenizer = command->add_option("--tokenizer", options->tokenizer,
                                        "The tokenizer that made the ids: byte, or a model");
  auto* vocab_size =
      command
          ->add_option("--vocab-size", options->vocab_size,
                       "Number of ids, where the tokenizer is not at hand; generated text is ids")
          ->excludes(tokenizer);
  auto* eos = command
                  ->add_option("--eos", options->eos,
                               "With --vocab-size: id that closes a document; added where absent")
                  ->needs(vocab_size);
  vocab_size->needs(eos);
  command->add_option("--format", options->format, "auto: what name and content show")
      ->capture_default_str()
      ->check(CLI::IsMember({"auto", "megatron", "llm.c", "datatrove", "npy", "raw"}));
  std::vector<std::string> dtypes = TokenDtypeNames();
  dtypes.insert(dtypes.begin(), "auto");
  command
      ->add_option("--dtype", options->dtype,
                   "Type of the values, for files that do not say it (OLMo's .npy among them)")
      ->capture_default_str()
      ->check(CLI::IsMember(dtypes));
  command
      ->add_option("--document-end", options->document_end,
                   "file: where the index or the rows say, else with the file; eos: behind each "
                   "eos, across files too")
      ->capture_default_str()
      ->check(CLI::IsMember({"file", "eos"}));
  auto* share = command->add_option("--val-fraction", tokens.split.val_fraction, "Share held out")
                    ->capture_default_str();
  command->add_option("--val-documents", tokens.split.val_documents, "Number held out")
      ->excludes(share);
  command->add_option("--seed", tokens.split.seed, "Seed of the choice of held-out documents")
      ->capture_default_str();
  command->callback([=] {
    absl::Status status;
    if (*tokenizer || *vocab_size) {
      status = Import(*options);
    } else {
      status = absl::InvalidArgumentError(
          "give --tokenizer, or --vocab-size and --eos: which ids are there, and which one ends a "
          "document?");
    }
    *exit_code = ExitCode(NameOptions(status));
  });
}

void AddExport(CLI::App* data, int* exit_code) {
  struct Options {
    std::string store, format = "megatron", output;
    bool drop_loss_mask = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = data->add_subcommand(
      "export-tokens", "Write the tokens of a store for other programs to train on");
  command->add_option("STORE", options->store, "An .h5 file, or FOLDER/train.h5 of shards")
      ->required();
  command
      ->add_option("--format", options->format,
                   "megatron: OUTPUT.bin and OUTPUT.idx, as Megatron-LM reads them")
      ->capture_default_str()
      ->check(CLI::IsMember({"megatron"}));
  command->add_option("--output", options->output, "What the names of the files begin with")
      ->required();
  command->add_flag("--drop-loss-mask", options->drop_loss_mask,
                    "Write conversations, too, of whose tokens another program learns all");
  command->callback([=] {
    const LossMask mask = options->drop_loss_mask ? LossMask::kDrop : LossMask::kRefuse;
    *exit_code = ExitCode(NameOptions(Export(options->store, options->output, mask)));
  });
}

}  // namespace

void AddTokenFileCommands(CLI::App* data, int* exit_code) {
  AddImport(data, exit_code);
  AddExport(data, exit_code);
}

}  // namespace wyvern
