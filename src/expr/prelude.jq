# What the native functions of gatherd leave to be said in jq itself.

# Sums and mathematics
def add(f): [f] | add;
def gamma: lgamma;

# Paths
def del(f): delpaths([path(f)]);
def pick(f): . as $whole | reduce path(f) as $path (null; setpath($path; $whole | getpath($path)));
def leaf_paths: paths(scalars);

# Regular expressions
def match($re; $flags): matches($re; $flags)[];
def match($re): if $re | isarray then match($re[0]; $re[1]) else match($re; "") end;
def test($re): if $re | isarray then test($re[0]; $re[1]) else test($re; "") end;
def named_captures: reduce (.captures[] | select(.name != null)) as $group ({}; .[$group.name] = $group.string);
def capture($re; $flags): match($re; $flags) | named_captures;
def capture($re): match($re) | named_captures;
def scan($re; $flags): match($re; "g" + $flags) | if .captures == [] then .string else [.captures[].string] end;
def scan($re): scan($re; "");
def split($separator):
  if isstring and ($separator | isstring) then . / $separator
  else error("split input and separator must be strings") end;
def split($re; $flags): [split_matches($re; "g" + $flags)[] | strings];
def splits($re; $flags): split($re; $flags)[];
def splits($re): splits($re; "");
def sub($re; f; $flags):
  reduce split_matches($re; $flags)[] as $part ([]; . + ($part | if isstring then . else named_captures | f end | [.]))
  | add;
def sub($re; f): sub($re; f; "");
def gsub($re; f; $flags): sub($re; f; "g" + $flags);
def gsub($re; f): sub($re; f; "g");

# Time: a filter's answer does not hang on where its machine stands, so local time is UTC.
def localtime: gmtime;
def strflocaltime(f): strftime(f);
def date: todate;
def dateadd(unit; $seconds): . + $seconds;
def datesub(unit; $seconds): . - $seconds;

# Text
def ascii: [.] | implode;
def trimstr($text): ltrimstr($text) | rtrimstr($text);
def @json: tojson;
def @csv: csv_row;
def @tsv: tsv_row;
def @base32: tostring | encode_base32;
def @base32d: tostring | decode_base32;

# Collections
def index($part): indices($part) | .[0];
def rindex($part): indices($part) | .[-1];
def in(collection): . as $key | collection | has($key);
def inside(whole): . as $part | whole | contains($part);
def transpose: (map(length) | max // 0) as $width | [range($width) as $column | map(.[$column])];
def toarray: if isarray then . else [.] end;
def IN(f): any(f == .; .);
def IN(source; f): any(source == f; .);
def INDEX(source; key): reduce source as $row ({}; .[$row | key | tostring] = $row);
def INDEX(key): INDEX(.[]; key);
def GROUP_BY(source; key): reduce source as $row ({}; .[$row | key | tostring] += [$row]);
def have_literal_numbers: true;
def have_decnum: false;
