<?php

// Asks generated verifiers what they say of requests: the directory's `cases.json` in, one JSON line for each case out.

declare(strict_types=1);

$directory = $argv[1];
foreach (json_decode(file_get_contents("$directory/cases.json"), true, 512, JSON_THROW_ON_ERROR) as $one) {
    // All have the same class, so each is put into a namespace of its own.
    $space = 'Of' . bin2hex($one['name']);
    $code = file_get_contents("$directory/{$one['file']}");
    $code = preg_replace('/^<\?php\s+declare\(strict_types=1\);/', "namespace $space;\nuse RuntimeException;\nuse InvalidArgumentException;", $code, 1, $count);
    if ($count !== 1) {
        throw new RuntimeException("{$one['file']} does not begin as expected");
    }
    eval($code);
    foreach ($one['cases'] as $at => $case) {
        $why = null;
        try {
            "$space\\WebhookVerifier"::verify(base64_decode($case['body']), $case['headers'], $case['keys'], $case['now']);
        } catch (RuntimeException | InvalidArgumentException $refused) {
            $why = $refused->getMessage();
        }
        echo json_encode(['name' => $one['name'], 'at' => $at, 'why' => $why], JSON_UNESCAPED_SLASHES), "\n";
    }
}
