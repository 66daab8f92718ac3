-- The region says the partition. Until now the principal did, and those of the embedded cloud are all in `aws`.
CREATE TEMPORARY TABLE partitions (prefix text, partition text) ON COMMIT DROP;
INSERT INTO partitions VALUES
    ('cn-', 'aws-cn'), ('eusc-', 'aws-eusc'), ('us-gov-', 'aws-us-gov'), ('us-iso-', 'aws-iso'),
    ('us-isob-', 'aws-iso-b'), ('eu-isoe-', 'aws-iso-e'), ('us-isof-', 'aws-iso-f');
UPDATE environments SET partition = partitions.partition FROM partitions
    WHERE environments.partition = 'aws' AND starts_with(region, prefix);
UPDATE events SET arn = 'arn:' || partitions.partition || substr(arn, length('arn:aws') + 1) FROM partitions
    WHERE starts_with(arn, 'arn:aws:airflow:' || prefix);
